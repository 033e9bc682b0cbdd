/** Which folders of the machine a container sees, by the command line that starts it. Pure. */
import { baseName, CONTAINER_ENGINES } from "./programs.ts";
import type { ServerCommand } from "./server-arguments.ts";

/** A folder or file of the machine, and where the container has it. */
interface Mount {
  readonly source: string;
  readonly target: string;
}

/** The words before the program itself: wrappers and the container's engine. */
function wordsBefore({ words, args }: ServerCommand): string[] {
  const first = args[0] ? words.indexOf(args[0]) : words.length;
  return words.slice(0, first).map((word) => word.value.text);
}

/**
 * What a container's options mount, named volumes too.
 *
 * @param words after the engine's name
 */
export function mountsOf(words: readonly string[]): Mount[] {
  return words.flatMap((word, at) => {
    const next = words[at + 1] ?? "";
    const volume = /^(?:--volume=|-v=?)(.+)$/.exec(word)?.[1];
    if (/^(-[a-z]*v|--volume)$/.test(word)) return ofVolume(next);
    if (volume !== undefined) return ofVolume(volume);
    if (word === "--mount") return ofMount(next);
    return word.startsWith("--mount=") ? ofMount(word.slice("--mount=".length)) : [];
  });
}

/** Of `source:target[:options]`. */
function ofVolume(volume: string): Mount[] {
  const [source = "", target = ""] = volume.split(":");
  return target === "" ? [] : [mount(source, target)];
}

/** Of `type=bind,source=…,target=…`, in any order. */
function ofMount(text: string): Mount[] {
  const field = (name: string): string | undefined =>
    new RegExp(`(?:^|,)(?:${name})=([^,]*)`).exec(text)?.[1];
  const target = field("target|dst|destination");
  return field("type") !== "bind" || target === undefined ? [] : [mount(field("source|src") ?? "", target)];
}

function mount(source: string, target: string): Mount {
  const plain = (path: string): string => path.replace(/(?<=.)\/+$/, "");
  return { source: plain(source), target: plain(target) };
}

/** The mounts of the container in which a command starts its program. */
function mountsFor(server: ServerCommand): Mount[] {
  const before = wordsBefore(server);
  const engine = before.findIndex((word) => CONTAINER_ENGINES.has(baseName(word)));
  return engine < 0 ? [] : mountsOf(before.slice(engine + 1));
}

function moved(path: string, from: string, to: string): string | undefined {
  const isInside = from.startsWith("/") && to.startsWith("/") && path.startsWith(`${from}/`);
  return isInside ? to + path.slice(from.length) : undefined;
}

/** A path of the machine as the started program names it; undefined where it does not see the file. */
export function pathInside(server: ServerCommand, path: string): string | undefined {
  if (server.place === undefined) return path;
  if (server.place === "another machine") return undefined;
  return mountsFor(server).flatMap(({ source, target }) => moved(path, source, target) ?? [])[0];
}

/** A path that the started program names as the machine has it; undefined where that is not its file. */
export function pathOutside(server: ServerCommand, path: string): string | undefined {
  if (server.place === undefined) return path;
  if (server.place === "another machine") return undefined;
  return mountsFor(server).flatMap(({ source, target }) => moved(path, target, source) ?? [])[0];
}
