import { EXTENSION, type PiOptions, piCommand, runPi } from "./pi.ts";
import { Terminal, type TerminalOptions } from "./terminal.ts";

/** Starts pi in a terminal of 80×24, unless `size` is another, and waits until it takes input. */
export async function openPi(
  options: PiOptions,
  size: Partial<Pick<TerminalOptions, "columns" | "rows">> = {},
): Promise<Terminal> {
  const terminal = await Terminal.start({ ...(await piCommand(options)), columns: 80, rows: 24, ...size });
  try {
    // pi lists its extensions at the end of its start; a line that comes earlier stays in the editor.
    await terminal.waitForPast(/\[Extensions\]/);
    return terminal;
  } catch (error) {
    await terminal.close();
    throw error;
  }
}

/** Stores the server's models in pi's agent folder, as the first start of any pi does. */
export async function storeModels(options: Omit<PiOptions, "args" | "offline">): Promise<void> {
  const args = ["-e", EXTENSION, "--list-models"];
  const { code, stderr } = await runPi({ ...options, args, offline: false });
  if (code !== 0) throw new Error(`pi lists no models: ${stderr}`);
}
