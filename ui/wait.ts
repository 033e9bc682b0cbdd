import { BorderedLoader, type ExtensionContext } from "@earendil-works/pi-coding-agent";

/** A wait is shown only when it lasts: what answers at once does not flicker. */
const SHOWN_AFTER_MS = 500;

/**
 * Waits for `work`. In the terminal a screen with focus says what for and takes Escape: pi's own input does not work
 * while a command runs.
 *
 * @returns undefined when the user cancelled
 * @throws what `work` throws
 */
export async function waitFor<T>(
  ctx: Pick<ExtensionContext, "mode" | "ui">,
  title: string,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T | undefined> {
  const cancelled = new AbortController();
  const result = work(cancelled.signal);
  if (ctx.mode !== "tui") return result;
  const settled = result.then(
    () => true,
    () => true,
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), SHOWN_AFTER_MS);
  });
  const isDone = await Promise.race([settled, late]);
  clearTimeout(timer);
  if (!isDone) {
    await ctx.ui.custom<void>((tui, theme, _keybindings, done) => {
      const loader = new BorderedLoader(tui, theme, title);
      loader.onAbort = () => {
        cancelled.abort(new Error("Cancelled"));
        done();
      };
      void settled.then(() => done());
      return loader;
    });
  }
  if (cancelled.signal.aborted) return undefined;
  return result;
}
