/** Why a size in llama-swap's YAML is not changed, in sentences that name the place. */
import { isScalar, isSeq } from "yaml";
import type { ContextSetting } from "../context-setting.ts";
import { unknownFlag } from "../known-keys.ts";
import { refusal, shown } from "../refusals.ts";
import { positionAt } from "../traced-text.ts";
import { lookUp, type Model, type YamlConfig } from "./config.ts";
import type { Located } from "./context.ts";
import { rangeOf } from "./own-command.ts";

/** The other models that run the very same `cmd`. */
export function sharers(config: YamlConfig, located: Located): Model[] {
  return [...config.models.values()].filter(
    (other) =>
      other !== located.model &&
      other.mapping !== located.model.mapping &&
      lookUp(config.anchors, other.mapping, "cmd")?.node === located.scalar,
  );
}

/** The refusal of a new argument for what is not known to be llama-server. */
function refuseOther({ model, server }: Located, before: ContextSetting, tokens: number): never {
  const { kind, sizeFlags, sizeVariable } = server.program;
  const starts = `${shown(model.id)} starts ${shown(server.name)}, which is not`;
  const [flag] = sizeFlags;
  if (kind === "unknown") {
    const what = `${starts} known to be llama-server, and --ctx-size may mean nothing to it`;
    throw refusal(before, what, "If it takes a context size, write that into its `cmd` by hand.");
  }
  if (flag) {
    const what = `${starts} llama-server: ${flag} sets its context size, and its \`cmd\` has none`;
    throw refusal(before, what, `Write \`${flag} ${tokens}\` into its \`cmd\` by hand.`);
  }
  if (sizeVariable === undefined) {
    throw refusal(
      before,
      `${starts} llama-server and knows no --ctx-size`,
      "There is no context size to set.",
    );
  }
  const what = `${starts} llama-server: the variable ${sizeVariable} sets its context size`;
  throw refusal(before, what, `Give it \`${sizeVariable}=${tokens}\` by hand.`);
}

/** The sentence for a size that no way of changing leads to. @throws {ServerError} */
export function refuse(
  config: YamlConfig,
  located: Located,
  before: ContextSetting,
  { fault, tokens }: { fault: string | undefined; tokens: number },
): never {
  const { model, server } = located;
  if (server.program.kind !== "llama-server" && !located.figure) refuseOther(located, before, tokens);
  if (!model.isOwn) {
    const what = `${shown(model.id)} takes over its whole block from elsewhere`;
    throw refusal(
      positionAt(config.text, rangeOf(model.key).start),
      what,
      "Write a block with a `cmd` of its own.",
    );
  }
  const others = sharers(config, located).map((other) => shown(other.id));
  if (others.length > 0) {
    const what = `the \`cmd\` of ${shown(model.id)} is also that of ${others.join(", ")}`;
    throw refusal(before, what, `Write a \`cmd\` of its own for ${shown(model.id)} by hand, then try again.`);
  }
  if (server.isInScript && !located.figure) {
    const what = `${shown(model.id)} starts llama-server with arguments that only its shell knows`;
    throw refusal(before, what, "Write `--ctx-size` into that command by hand.");
  }
  if (server.isInScript && before.tokens === undefined) {
    const what = `the size of ${shown(model.id)} stands inside the string that it gives to a shell, and is not a plain number`;
    throw refusal(before, what, "Change it by hand.");
  }
  const what = `the size of ${shown(model.id)} cannot be changed alone${fault ? ` (${fault})` : ""}`;
  throw refusal(before, what, "Change it by hand.");
}

/** What ends a line to llama-swap's YAML reader (`is_break` of go-yaml v3), and to YAML 1.2 does not. */
const FOREIGN_LINE_END = /\r(?!\n)|[\u0085\u2028\u2029]/;

/** Where the two readers may see other lines, nothing that is found here proves anything about the server. */
export function refuseForeignLineEnds(text: string): void {
  const found = FOREIGN_LINE_END.exec(text);
  if (!found) return;
  const code = found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  const what = `the character U+${code} ends a line for llama-swap, but not for every reader of YAML`;
  throw refusal(positionAt(text, found.index), what, "Replace it by a plain line end or a blank.");
}

/** What is not set by a flag that llama-server knows is set by none that can be changed. */
export function refuseUnknownFlag(config: YamlConfig, located: Located): void {
  const word = unknownFlag(located);
  const at = word?.raw.traces[0]?.origin.start;
  if (!word || at === undefined) return;
  const what = `${located.server.name} has no flag ${shown(word.value.text)}, and does not start with it`;
  throw refusal(
    positionAt(config.text, at),
    what,
    "Write `--ctx-size` in its place by hand, then try again.",
  );
}

/** A list is all that llama-swap reads there; with anything else it does not start. */
export function refuseOtherEnvironment(config: YamlConfig, model: Model): void {
  const env = lookUp(config.anchors, model.mapping, "env");
  if (!env || isSeq(env.node) || (isScalar(env.node) && env.node.value === null)) return;
  const at = positionAt(config.text, rangeOf(env.written ?? env.node).start);
  const what = `the \`env\` of ${shown(model.id)} is no list, and llama-swap does not start with it`;
  throw refusal(at, what, "Write it as a list of `NAME=value` by hand, then try again.");
}
