/** How a container that a unit starts gets the config. Pure: takes the unit's command line. */

const ENGINES = new Set(["docker", "podman", "nerdctl"]);

/** Where the images of llama-swap have their config, when no flag names another place. */
const IMAGE_CONFIG = "/app/config.yaml";

/**
 * Whether the config is a file that is mounted by itself: a mount keeps the file that it was made with, so that a file
 * which takes its place by a rename is never seen in there. A restart makes the mount again.
 *
 * @param words of the unit's command line, of `docker run …` and its like
 */
export function isMountedAlone(words: readonly string[]): boolean {
  const engine = words.findIndex((word) => ENGINES.has(word.split("/").at(-1) ?? ""));
  if (engine < 0) return false;
  const rest = words.slice(engine + 1);
  const path = flagValue(rest, /^--?config$/) ?? IMAGE_CONFIG;
  const isConfig = (target: string): boolean =>
    path.startsWith("/") ? target === path : target.endsWith(`/${path.replace(/^\.\//, "")}`);
  return targetsOf(rest).some(isConfig);
}

/** The last value of a flag, as the next word or after `=`. */
function flagValue(words: readonly string[], flag: RegExp): string | undefined {
  return words
    .flatMap((word, at) => {
      const [name = "", ...value] = word.split("=");
      if (!flag.test(name)) return [];
      return value.length > 0 ? [value.join("=")] : words.slice(at + 1, at + 2);
    })
    .at(-1);
}

/** Where files and folders of the machine are in the container. */
function targetsOf(words: readonly string[]): string[] {
  return words.flatMap((word, at) => {
    const next = words[at + 1] ?? "";
    if (/^(-[a-z]*v|--volume)$/.test(word)) return volumeTarget(next);
    const volume = /^(?:--volume=|-v=?)(.+)$/.exec(word)?.[1];
    if (volume !== undefined) return volumeTarget(volume);
    if (word === "--mount") return mountTarget(next);
    return word.startsWith("--mount=") ? mountTarget(word.slice("--mount=".length)) : [];
  });
}

/** Of `source:target[:options]`. */
function volumeTarget(volume: string): string[] {
  return volume.split(":").slice(1, 2).map(withoutSlash);
}

/** Of `type=bind,source=…,target=…`, in any order. */
function mountTarget(mount: string): string[] {
  const field = (name: string): string | undefined =>
    new RegExp(`(?:^|,)(?:${name})=([^,]*)`).exec(mount)?.[1];
  const target = field("target|dst|destination");
  return field("type") !== "bind" || target === undefined ? [] : [withoutSlash(target)];
}

function withoutSlash(path: string): string {
  return path.replace(/(?<=.)\/+$/, "");
}
