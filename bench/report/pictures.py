"""An SVG as a URI inside the page: nothing is loaded, and the ids of two drawings cannot clash."""

import re
import string
from urllib.parse import quote

from markupsafe import Markup

# Within double quotes of HTML, these are all that a URI must not hold as they are. Base64 is a third longer.
_PLAIN = "".join(each for each in string.printable if each not in '"#%&\t\n\r\x0b\x0c')


def data_uri(svg: str) -> Markup:
    """The picture as the value of an attribute in double quotes, with coordinates to 1/100 pt."""
    svg = re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]*", lambda found: found[0].replace("'", ""), svg).replace('"', "'")
    # In tags only: a figure in a text would be cut off, not rounded.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(?<=\d\.\d\d)\d+", "", tag[0]), svg)
    svg = re.sub(r"\s+", " ", svg).replace("> <", "><")
    svg = re.sub(r"style='[^']*'", lambda found: re.sub(r"([:;]) ", r"\1", found[0]), svg)
    return Markup("data:image/svg+xml," + quote(svg.strip(), safe=_PLAIN))  # noqa: S704 - quoted here
