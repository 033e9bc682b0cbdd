/** Why it is not known what fits, by the codes of `ai-server-admin`. */
import { cleanText } from "../../lib/text.ts";

interface Place {
  /** The server's machine. */
  readonly where: string;
  /** llama-server, as the model's command names it. */
  readonly program: string;
  readonly isWrapped: boolean;
}

/** How the tool comes to a machine. */
export const GET_IT = "llama.cpp has it since April 2026; on Debian: llama.cpp-tools-extra";

type Reason = (at: Place, said: string, program: string) => string;

/** Where the programs were looked for. */
function placeOf({ where, program, isWrapped }: Place): string {
  if (isWrapped) return `in llama_folder of ai-server-admin or on the path of ${where}`;
  return program.includes("/")
    ? `beside ${cleanText(program, 200)} or on the path of ${where}`
    : `on ${where}`;
}

const REASONS: Readonly<Record<string, Reason>> = {
  "no-fit-tool": (at) => `there is no llama-fit-params ${placeOf(at)} (${GET_IT}).`,
  "no-server": (at) => `there is neither llama-server nor llama-fit-params ${placeOf(at)} (${GET_IT}).`,
  "fit-old": ({ where }) => `the llama-fit-params on ${where} is too old, without --fit-print (${GET_IT}).`,
  "fit-slow": ({ where }, _said, program) =>
    `${program} took longer than 20 s on ${where}. The disk may be busy, or a device may not answer.`,
  "fit-failed": ({ where }, said) => `llama-fit-params failed on ${where}: ${said || "it gave no reason."}`,
  "devices-failed": ({ where }, said, program) =>
    `${program} failed on ${where}: ${said || "it gave no reason."}`,
  "no-model": ({ where }, said) => `its file ${said} is missing on ${where}, or cannot be read.`,
  "no-projector": ({ where }, said) => `its projector ${said} cannot be read on ${where}.`,
  "not-allowed": ({ where }) =>
    `ai-server-admin on ${where} is of an earlier version. Install the one that belongs to this version.`,
  "bad-request": ({ where }) =>
    `ai-server-admin on ${where} did not understand the request. Install the one that belongs to this version.`,
};

/**
 * A clause.
 *
 * @param verb what was asked for
 * @param detail what a program on the server wrote; cleaned and shortened here
 */
export function fitProblem(verb: string, code: string, detail: string, at: Place): string {
  const said = reasonIn(detail);
  const program = verb === "devices" ? "llama-server --list-devices" : "llama-fit-params";
  return REASONS[code]?.(at, said, program) ?? `the step on ${at.where} failed (${code}).`;
}

/**
 * The first line that names an error, which says most; else the last line. The tool writes its log in a thread of its own:
 * of a tool that aborts, often only the exception is left.
 */
function reasonIn(detail: string): string {
  const lines = cleanText(detail)
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("terminate called"));
  const line = lines.find((one) => /error|fail/i.test(one)) ?? lines.at(-1) ?? "";
  // Time and level before the words of llama.cpp's log, and what C++ writes before those of an exception.
  return line.replace(/^[\d.]+ [A-Z] +|^ *what\(\): +/, "").slice(0, 300);
}
