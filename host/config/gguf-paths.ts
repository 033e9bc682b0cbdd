/** The files of a model by the path that its command names. Pure. */

const SHARD = /-(\d{5})-of-(\d{5})\.gguf$/i;
/** More shards than any model has: a name is only a name. */
const MOST_SHARDS = 1000;

/** All shards of a file that is named as one of several, `NAME-00001-of-0000N.gguf`; of any other the file itself. */
export function shardsOf(path: string): string[] {
  const [found, , total = ""] = SHARD.exec(path) ?? [];
  const count = Number(total);
  if (found === undefined || count < 1 || count > MOST_SHARDS) return [path];
  const start = path.slice(0, -found.length);
  const end = path.slice(-".gguf".length);
  return Array.from({ length: count }, (_, at) => {
    const number = String(at + 1).padStart(5, "0");
    return `${start}-${number}-of-${total}${end}`;
  });
}

/** All files of a GGUF; none of what is no absolute path of one. */
export function ggufsAt(path: string): string[] {
  return path.startsWith("/") && /\.gguf$/i.test(path) ? shardsOf(path) : [];
}

/** Whether a text names a file, in whatever folder: under its own name, or that of another of its shards. */
export function mentions(text: string, path: string): boolean {
  const name = path.replace(/^.*\//, "").replace(SHARD, "-00");
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    if (!/[\w.-]/.test(text.charAt(at - 1))) return true;
  }
  return false;
}
