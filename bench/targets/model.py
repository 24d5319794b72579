"""The target file: how to start a service, chat with it, stop a chat, and recognise what became of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from bench.targets import expressions, templates

Template = Annotated[str, AfterValidator(templates.checked)]
"""A Jinja2 template; its variables are listed in docs/targets.md."""
Expression = Annotated[str, AfterValidator(expressions.checked)]
"""A JMESPath expression."""
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$")]
Vars = dict[str, bool | int | float | str]
HANGUP = "hangup"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Value(_Table):
    """Where a value is in an answer: in its JSON body, its first event, or a header (with a regex)."""

    body: Expression | None = None
    event: Expression | None = None
    header: str | None = None
    regex: Annotated[str, AfterValidator(expressions.checked_regex)] = "(.+)"

    @model_validator(mode="after")
    def _one_place(self) -> Value:
        if sum(each is not None for each in (self.body, self.event, self.header)) != 1:
            raise ValueError("give one of body, event, header")
        return self


class Request(_Table):
    """A request: `METHOD /path`, and a body as the template of a JSON document or as a form."""

    request: Annotated[Template, Field(pattern=r"^[A-Z]+ [^\s]")]
    headers: dict[str, Template] = {}
    json_body: Template | None = Field(None, alias="json")
    form: dict[str, Template] | None = None


class Call(Request):
    """A request made once (`setup`) or before each chat, outside the clock (`prepare`); `value` is kept by its name."""

    value: Value | None = None


class Start(Request):
    """The request that starts a chat, and the ids that its answer contains."""

    ids: dict[Name, Value] = {}


class Stream(Request):
    """Where the answer is read: in the start's own answer, in a second one (`request`), or nowhere (framing none)."""

    request: Annotated[Template, Field(pattern=r"^([A-Z]+ [^\s]|$)")] = ""
    framing: Literal["sse", "ndjson", "text", "none"] = "sse"
    token: Expression | None = None  #: text of an event; without it every event counts as a token
    reason: Expression | None = None  #: why the answer ended
    ended: Expression | None = None  #: true for the last event of an answer, where the connection stays open
    aborted: Expression | None = None  #: true for an event that reports the stop
    error: Expression | None = None  #: true for an event that reports a failure


class State(Request):
    """A later request that shows whether a stopped chat stayed stopped."""

    value: Expression
    after_s: list[Annotated[float, Field(gt=0, le=60)]] = [1.0]
    honest: list[str]  #: values of a chat that is stopped


class Stop(Request):
    """One way to stop a chat. Expressions see `status` and `body` of the answer."""

    kind: Literal["request", "hangup", "driver"] = "request"
    request: Annotated[Template, Field(pattern=r"^([A-Z]+ [^\s]|$)")] = ""
    accepted: Expression = "status >= `200` && status < `300`"
    unknown: Expression = "status == `404`"
    retry: Expression | None = None  #: send the request again after 0.2 s
    outcome: Expression | None = None  #: what the service calls the outcome
    situations: list[str] | None = None  #: scenarios in which this way exists; all without it
    expect: Literal["stops", "never"] = "stops"  #: never: the product documents that this does not stop the upstream
    vars: Vars = {}
    state: State | None = None


class Ready(_Table):
    """When a started process is ready: any answer to this path, or the line `ready URL` on its standard output."""

    path: Template = "/"
    line: bool = False
    within_s: Annotated[float, Field(gt=0, le=600)] = 60.0


class Process(_Table):
    """How to start the service; {{work}} is a new folder for each start."""

    argv: Annotated[list[Template], Field(min_length=1)]
    env: dict[str, Template] = {}
    setup: Annotated[list[Template], Field(min_length=1)] | None = None  #: installs the dependencies into {{venv}}
    locks: list[str] = []  #: names of the lock files, in whose every state setup runs once; the usual names without it
    folder: Template = "{{work}}"  #: working folder
    files: dict[str, str] = {}  #: name in {{work}} -> path relative to the target file; *.j2 are rendered
    ready: Ready = Ready()
    version: list[Template] | None = None  #: prints the version of the service


class Variant(_Table):
    """The same target with other settings."""

    vars: Vars = {}
    stops: list[str] | None = None  #: ways to stop that this variant is measured with; all without it
    note: str = ""


class Limits(_Table):
    """What a target bears."""

    streams: Annotated[int, Field(ge=1, le=1000)] | None = None


class Target(_Table):
    """A target file."""

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    title: str = ""
    note: str = ""  #: what a reader of its figures must consider
    docs: str = ""  #: address of the product's own documentation of its stop
    install: Name | None = None  #: the product in bench/targets/locks, where it is not named like this file
    needs: list[Literal["redis", "postgres"]] = []
    vars: Vars = {}
    driver: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    process: Process | None = None
    setup: dict[Name, Call] = {}
    prepare: dict[Name, Call] = {}
    start: Start | None = None
    stream: Stream = Stream()
    stop: dict[Name, Stop]
    variant: dict[Name, Variant] = {}
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        if (self.start is None) == (self.driver is None):
            raise ValueError("give a [start] request, or a driver")
        for name, stop in self.stop.items():
            if (stop.kind == HANGUP) != name.startswith(HANGUP):
                raise ValueError(f"stop.{name}: a way of kind hangup is named hangup or hangup-...; no other is")
            if (stop.kind == "request") != bool(stop.request):
                raise ValueError(f"stop.{name}: kind request needs a request, and no other kind has one")
            if stop.kind != HANGUP and (stop.kind == "driver") != (self.driver is not None):
                raise ValueError(f"stop.{name}: with a driver kind is driver or hangup; without one request or hangup")
        for name, variant in self.variant.items():
            if unknown := set(variant.stops or ()) - set(self.stop):
                raise ValueError(
                    f"variant.{name}.stops: {', '.join(sorted(unknown))} unknown; stops are {', '.join(self.stop)}"
                )
        return self
