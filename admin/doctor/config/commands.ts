/** What the commands of the models say beside their context: templates, ports, secrets. Pure. */
import type { ModelStart } from "../../../host/config/command/model-start.ts";
import { isSecretName } from "../../../masking/masking.ts";
import { type Finding, fault, unchecked, warning } from "../finding.ts";
import { allOr, type SeenModel, type Sight } from "./sight.ts";

const IS_OFF = /^(0|false|off|disabled)$/i;

/** Whether llama-server reads chat templates, and with them tools: undefined where its command leaves that to it. */
export function readsTemplates({ flags, environment }: ModelStart): boolean | undefined {
  const last = flags.findLast(({ name }) => name === "jinja" || name === "no-jinja");
  if (last !== undefined) return (last.name === "jinja") !== IS_OFF.test(last.value ?? "");
  const variable = environment.findLast((entry) => /^LLAMA_ARG_(NO_)?JINJA=/.test(entry));
  if (variable === undefined) return undefined;
  return !variable.startsWith("LLAMA_ARG_NO_") && !IS_OFF.test(variable.slice(variable.indexOf("=") + 1));
}

export function* templates({ models, isPreset }: Sight): Iterable<Finding> {
  const servers = models.filter(({ isChat, start }) => isChat && start?.kind === "llama-server");
  if (servers.length === 0) return;
  const withTools = servers.filter(({ facts }) => facts?.tools.source !== "declared" || facts.tools.value);
  const off = withTools.filter(({ start }) => start && readsTemplates(start) === false);
  const unset = withTools.filter(({ start }) => start && readsTemplates(start) === undefined);
  const how = isPreset
    ? "Take it out of the preset, then /ai-server-refresh."
    : "Take it out of its `cmd`, then /ai-server-restart.";
  yield* allOr(
    off.map(({ shown }) =>
      fault(
        "jinja",
        `Tools of ${shown}`,
        "with --no-jinja llama-server refuses every request that brings tools, as pi's do",
        how,
      ),
    ),
    "jinja",
    "Tools",
    unset.length === 0
      ? "the chat templates are read (--jinja)"
      : `the chat templates are read, unless llama-server is from before December 2025: since then --jinja is its default`,
  );
}

/** A flag's port, where it is written as a number. */
function portOf({ start }: SeenModel): string | undefined {
  if (start === undefined || start.place !== undefined) return undefined;
  const value = start.flags.findLast(({ name }) => name === "port")?.value;
  return value !== undefined && /^\d+$/.test(value) ? value : undefined;
}

/** Where llama-swap itself listens: `-listen`, else 8080. Undefined in a container, whose ports are others outside. */
function ownPort(words: readonly string[] | undefined): string | undefined {
  if (words === undefined || !words.some((word) => /(^|\/)llama-swap[^/]*$/.test(word))) return undefined;
  if (/(^|\/)(docker|podman|nerdctl)$/.test(words[0] ?? "")) return undefined;
  const at = words.findLastIndex((word) => /^--?listen(=|$)/.test(word));
  const flag = words[at];
  if (flag === undefined) return "8080";
  const value = flag.includes("=") ? flag.slice(flag.indexOf("=") + 1) : words[at + 1];
  return /:(\d+)$/.exec(value ?? "")?.[1];
}

export function* ports({ models, swap, unit }: Sight): Iterable<Finding> {
  if (swap === undefined) return;
  const own = ownPort(unit?.commandLine);
  const fixed = models.flatMap((model) => {
    const port = portOf(model);
    return port === undefined ? [] : [{ model, port }];
  });
  const next = "Write `--port ${PORT}` and no `proxy`: llama-swap then chooses a free port.";
  const problems = fixed.flatMap(({ model, port }, at): Finding[] => {
    const { id, shown, proxy } = model;
    const bad = (seen: string): Finding[] => [fault("ports", `Port of ${shown}`, seen, next)];
    if (port === own) return bad(`its --port ${port} is the one on which llama-swap itself listens`);
    const forwarded = /^https?:\/\/(?:localhost|127\.0\.0\.1|\[::1\]):(\d+)/.exec(proxy ?? "")?.[1];
    if (forwarded !== undefined && forwarded !== port)
      return bad(`it listens on port ${port}, and its \`proxy\` sends requests to ${forwarded}`);
    const other = fixed
      .slice(0, at)
      .find((one) => one.port === port && swap.mayRunTogether(one.model.id, id));
    return other === undefined
      ? []
      : bad(`its --port ${port} is that of ${other.model.shown} too, and both may be loaded at once`);
  });
  yield* allOr(problems, "ports", "Ports", "none is used twice");
}

/** The flags and variables of a command that hold a secret, by their names. */
function secretsIn({ start, assignments }: SeenModel): string[] {
  const flags = (start?.flags ?? []).filter(({ value }) => value !== undefined && value !== "");
  const names = [
    ...flags.map(({ name }) => (name.length > 1 && name !== "hft" ? `--${name}` : `-${name}`)),
    ...assignments.filter((text) => !text.endsWith("=")).map((text) => text.slice(0, text.indexOf("="))),
  ];
  return [...new Set(names.filter((name) => isSecretName(name)))];
}

export function* secrets({ models, isPreset }: Sight): Iterable<Finding> {
  const shows = isPreset ? "/v1/models" : "/running";
  const where = isPreset ? "in the unit's environment" : "in its `env:`";
  const problems = models.flatMap((model): Finding[] => {
    const names = secretsIn(model);
    if (names.length === 0) return [];
    const seen = `its command holds a secret (${names.join(", ")}), which every holder of a certificate can read in ${shows}`;
    const next = `Write it into a file (--api-key-file) or a variable (LLAMA_API_KEY, HF_TOKEN) ${where}.`;
    return [warning("command-secrets", `Secrets of ${model.shown}`, seen, next)];
  });
  yield* allOr(problems, "command-secrets", "Secrets", "none in the commands");
}

/** The commands that this extension cannot read: nothing is wrong with that. */
export function* unread({ models }: Sight): Iterable<Finding> {
  for (const { shown, setting, fault: why } of models) {
    if (setting.problem === undefined || why !== undefined) continue;
    yield unchecked("command", `Command of ${shown}`, setting.problem);
  }
}
