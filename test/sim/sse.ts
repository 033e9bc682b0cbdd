/** The JSON of every `data:` line of a stream of events. */
export function parseEvents(text: string): { model: string; event: string; data: unknown }[] {
  const lines = text.split("\n").filter((line) => line.startsWith("data: {"));
  return lines.map((line) => JSON.parse(line.slice("data: ".length)));
}
