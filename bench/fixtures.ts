/** What the benchmark's server says: llama-server's chunks around seeded, realistic words. Pure. */

export type Kind = "text" | "tool";

/** One prepared answer, named by a model id so that a request chooses it. */
export interface Fixture {
  kind: Kind;
  /** Text deltas, or argument deltas of one tool call. */
  deltas: number;
  /** How many of them the server writes at a time. */
  eventsPerWrite: number;
  /** Milliseconds that the server lets pass before each write; absent: as fast as it can. */
  pauseMs?: number;
}

const NAME = /^bench-(text|tool)-(\d+)-by-(\d+)(?:-every-(\d+))?$/;

export function modelIdOf({ kind, deltas, eventsPerWrite, pauseMs }: Fixture): string {
  return `bench-${kind}-${deltas}-by-${eventsPerWrite}${pauseMs === undefined ? "" : `-every-${pauseMs}`}`;
}

/** @throws {Error} for an id that `modelIdOf` did not make */
export function fixtureOf(modelId: string): Fixture {
  const [, kind, deltas, eventsPerWrite, pauseMs] = NAME.exec(modelId) ?? [];
  if (kind === undefined) throw new Error(`"${modelId}" names no prepared answer`);
  return {
    kind: kind as Kind,
    deltas: Number(deltas),
    eventsPerWrite: Number(eventsPerWrite),
    ...(pauseMs === undefined ? {} : { pauseMs: Number(pauseMs) }),
  };
}

/** Distinct deltas of an answer; a longer one repeats them, so that a million tokens need not lie in memory. */
const DISTINCT_DELTAS = 50_000;

/** Mulberry32: small, and the same numbers on every machine. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SYLLABLES = "ka re to min se al vo ter ing un da pro si on le ex cu ra ber ni ti the of".split(" ");
const MARKS = [
  ".",
  ",",
  ":",
  ";",
  "(",
  ")",
  " {",
  "}",
  " =",
  " =>",
  "\n",
  "\n\n",
  "\t",
  ' "',
  '"',
  "'",
  " \\",
];
/** One answer in a few has such characters, and one of them makes the whole text take two bytes a character. */
const BEYOND_LATIN = [" –", " →", " „", "“", " ✓", "é", "ü", " 模型"];

/** A token as a model says it: mostly a word of one to four syllables with its space, or the rest of one. */
function token(random: () => number): string {
  const pick = (from: readonly string[]): string => from[Math.floor(random() * from.length)] ?? "";
  const kind = random();
  if (kind < 0.18) return pick(MARKS);
  if (kind < 0.185) return pick(BEYOND_LATIN);
  let word = kind < 0.4 ? "" : " ";
  for (let left = 1 + Math.floor(random() ** 2 * 4); left > 0; left--) word += pick(SYLLABLES);
  return word;
}

/** Text deltas in the order in which they are sent. */
function* textDeltas(count: number): Generator<string> {
  const random = seeded(20_260_101);
  const distinct = Array.from({ length: Math.min(count, DISTINCT_DELTAS) }, () => token(random));
  for (let sent = 0; sent < count; sent++) yield distinct[sent % distinct.length] ?? "";
}

const ARGUMENTS_HEAD = ["{", '"path"', ":", ' "src', "/ben", 'ch.ts"', ",", ' "content"', ":", ' "'];

/** Argument deltas of a call that writes a file: a short path, then one long text. */
function* argumentDeltas(count: number): Generator<string> {
  yield* ARGUMENTS_HEAD;
  for (const delta of textDeltas(count - ARGUMENTS_HEAD.length - 1)) yield JSON.stringify(delta).slice(1, -1);
  yield '"}';
}

/** The deltas of an answer, as the reader of it has to see them when joined. */
export function deltasOf({ kind, deltas }: Pick<Fixture, "kind" | "deltas">): Generator<string> {
  return kind === "text" ? textDeltas(deltas) : argumentDeltas(deltas);
}

/** Characters of all deltas of an answer: what a reader must have seen at its end. */
export function charactersOf(fixture: Pick<Fixture, "kind" | "deltas">): number {
  let characters = 0;
  for (const delta of deltasOf(fixture)) characters += delta.length;
  return characters;
}

const COMPLETION_ID = "chatcmpl-jD1MXFod4w0f65TAjhs6pDYNDfhO1CGd";
const CALL_ID = "HrXBi9pzzD5R08UY1xGqajFpfNWZwzhC";

/** The chunks of llama-server b11669, in its order of keys. */
function event(modelId: string, choices: readonly unknown[], more: object = {}): string {
  return `data: ${JSON.stringify({
    choices,
    created: 1_795_187_080,
    id: COMPLETION_ID,
    model: modelId,
    system_fingerprint: "b11669-Debian",
    object: "chat.completion.chunk",
    ...more,
  })}\n\n`;
}

function choice(delta: unknown, finishReason: string | null = null): unknown {
  return { finish_reason: finishReason, index: 0, delta };
}

function toolDelta(text: string, isFirst: boolean): unknown {
  const call = isFirst
    ? { index: 0, id: CALL_ID, type: "function", function: { name: "write", arguments: text } }
    : { index: 0, function: { arguments: text } };
  return { tool_calls: [call] };
}

function ending(modelId: string, { kind, deltas }: Fixture): string {
  const usage = {
    completion_tokens: deltas,
    prompt_tokens: 966,
    total_tokens: 966 + deltas,
    prompt_tokens_details: { cached_tokens: 965 },
  };
  const timings = {
    cache_n: 965,
    prompt_n: 1,
    prompt_ms: 1.199,
    prompt_per_token_ms: 1.199,
    prompt_per_second: 834.0283569641367,
    predicted_n: deltas,
    predicted_ms: 26.083,
    predicted_per_token_ms: 0.5114313725490196,
    predicted_per_second: 1955.2965533105855,
  };
  const finish = event(modelId, [choice({}, kind === "text" ? "stop" : "tool_calls")]);
  return `${finish}${event(modelId, [], { usage, timings })}data: [DONE]\n\n`;
}

/** The whole answer, one text for each write of the server. */
export function* writesOf(modelId: string): Generator<string> {
  const fixture = fixtureOf(modelId);
  yield event(modelId, [choice({ role: "assistant", content: null })]);
  let pending = "";
  let count = 0;
  for (const delta of deltasOf(fixture)) {
    const content = fixture.kind === "text" ? { content: delta } : toolDelta(delta, count === 0);
    pending += event(modelId, [choice(content)]);
    count += 1;
    if (count % fixture.eventsPerWrite === 0) {
      yield pending;
      pending = "";
    }
  }
  if (pending !== "") yield pending;
  yield ending(modelId, fixture);
}
