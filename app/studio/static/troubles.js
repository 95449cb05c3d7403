// Above the page, while it lasts: there is little room left, or nothing can be written. /readyz knows it without having
// to write anything, which an event cannot.

const EVERY = 15_000;
const CHECKS = ['database', 'storage', 'room'];

/** Look now and then, but not for a page that nobody looks at. */
export function watchTroubles(banner) {
  const look = async () => {
    if (!document.hidden) banner.hidden = await allWell();
  };
  setInterval(look, EVERY);
  document.addEventListener('visibilitychange', look);
  look();
}

/** No answer at all is the connection's trouble, and said there. */
async function allWell() {
  try {
    const { checks } = await (await fetch('/readyz')).json();
    return CHECKS.every((name) => checks[name]?.ok ?? true);
  } catch {
    return true;
  }
}
