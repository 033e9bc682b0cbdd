/** `/ai-server-preset`: shows the server's config file, or one model's part of it. */
import { formatOf, modelBlock, modelsIn } from "../host/config/config-file.ts";
import type { HostFile } from "../host/ssh/machine.ts";
import { maskText } from "../masking/masking.ts";
import { showText } from "../ui/view.ts";
import { type Aliases, readKnownId } from "./arguments.ts";
import { type Call, serverFor } from "./call.ts";
import { openConfigHost, pathOf } from "./host-access.ts";
import { aliasesOf, requireEnd } from "./models.ts";

interface Part {
  readonly file: HostFile;
  readonly first: number;
  readonly last: number;
}

/** A file that is not understood is shown as a whole; only a model's part of it cannot be found. */
function partOf(argument: string, files: readonly HostFile[], aliases: Aliases): Part | undefined {
  if (argument.trim() === "") return undefined;
  const written = modelsIn(files);
  const ids = written.map(({ model }) => model);
  const read = readKnownId(argument, ids, aliases);
  if (read === undefined) return undefined;
  requireEnd(read.rest);
  const file = written.find(({ model }) => model === read.id)?.file;
  return file && { file, ...modelBlock(file.text, formatOf(file.name), read.id) };
}

/** Shows it with secrets masked; nothing of it is kept. */
export async function preset(call: Call): Promise<void> {
  const { ctx, waiting, argument } = call;
  const server = await serverFor(call);
  waiting.say("Reading the config on the server");
  const host = await openConfigHost(server, waiting.signal);
  const { config } = host;
  const files = await host.machine.read(waiting.signal).finally(() => host.close());
  const part = partOf(argument, files, aliasesOf(server));
  for (const file of part === undefined ? files : [part.file]) {
    const format = formatOf(file.name);
    const path = pathOf(file, config);
    // In a pipe nothing else separates the files.
    const head = files.length > 1 && part === undefined && ctx.mode === "print" ? [`# ${path}`] : [];
    const lines = [...head, ...maskText(file.text, format).split(/\r?\n/)];
    const title = part === undefined ? path : `${path}, line ${part.first}`;
    const shown = part === undefined ? lines : lines.slice(part.first - 1, part.last);
    await waiting.ask(() => showText(ctx, { title, lines: shown, language: format }));
  }
}
