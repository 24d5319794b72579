// Each chart is drawn when it comes near the window, and its picture is hidden then.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    const box = target.querySelector(".live");
    box.hidden = false;
    try {
      (target.dataset.live === "curves" ? showCurves : showTime)(box);
      for (const picture of target.querySelectorAll("figure")) picture.hidden = true;
    } catch (error) {
      box.hidden = true;
      console.error(error);
    }
  }
}, { rootMargin: "800px" });
for (const each of document.querySelectorAll("[data-live]")) seen.observe(each);
