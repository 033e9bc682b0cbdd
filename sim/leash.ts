// Loaded into the demo's pi with `node --import leash.ts?demo=PID`: ends it when the demo is gone, which after a
// SIGKILL cannot do so itself.
const CHECK_MS = 500;
const GRACE_MS = 2000;

const demo = Number(new URL(import.meta.url).searchParams.get("demo"));
const parent = process.ppid;

/** Checking the parent is not enough: the demo may have ended before this runs, and pi's own children load this too. */
function isDemoGone(): boolean {
  if (process.ppid !== parent) return true;
  try {
    process.kill(demo, 0);
    return false;
  } catch {
    return true;
  }
}

const timer = setInterval(() => {
  if (!isDemoGone()) return;
  clearInterval(timer);
  // As when a terminal is closed; pi then puts the screen in order and stops what it has started.
  process.kill(process.pid, "SIGHUP");
  setTimeout(() => process.kill(process.pid, "SIGKILL"), GRACE_MS);
}, CHECK_MS);
timer.unref();
