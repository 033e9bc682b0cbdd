/** `12 s`, `1 min 5 s`: rounded down, as a clock shows it. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** The same for a time that is over, with tenths below ten seconds. */
export function spent(milliseconds: number): string {
  return milliseconds < 9950 ? `${(milliseconds / 1000).toFixed(1)} s` : duration(milliseconds);
}

/** A limit in a sentence: whole seconds, rounded up. */
export function wholeSeconds(milliseconds: number): string {
  return `${Math.ceil(milliseconds / 1000)} s`;
}

/** `1 model`, `2 models`. @param noun whose plural takes an s */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** `32k`, `128k`, `1M`: tokens as short as people say them; round numbers by 1000, powers of two by 1024. */
export function shortTokens(tokens: number): string {
  if (tokens < 1000) return String(tokens);
  const unit = tokens % 1000 !== 0 && tokens % 1024 === 0 ? 1024 : 1000;
  const thousands = tokens / unit;
  return thousands >= unit ? `${round(thousands / unit)}M` : `${round(thousands)}k`;
}

function round(value: number): string {
  return String(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
}

/** Something per second, with tenths below 10. */
export function rateWords(perSecond: number): string {
  return perSecond < 10 ? perSecond.toFixed(1) : String(Math.round(perSecond));
}

const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `41.3 GiB`, `512 MiB`: memory and files, with tenths below 100. @param bytes 0 or more */
export function binarySize(bytes: number): string {
  let power = 0;
  // What would round up to 1024 is one of the next unit.
  while (power < BINARY_UNITS.length - 1 && bytes / 1024 ** power >= 1023.5) power++;
  const value = bytes / 1024 ** power;
  const words =
    power === 0 || value >= 99.95 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, "");
  return `${words} ${BINARY_UNITS[power]}`;
}
