/** A row of the fault table: how a fault comes about, what the user reads, and what pi does with it. */
import type { Remedy } from "../../lib/errors.ts";
import { transportFault } from "../../server/http/transport-faults.ts";
import type { Answer, FakeServer } from "../support/turns.ts";
import type { FaultPlace } from "./place.ts";

export interface FaultRow {
  fault: string;
  /** Gives the text that the user reads. HOST, PORT and DIR stand for what differs from run to run. */
  provoke(place: FaultPlace): Promise<string>;
  says: string;
  pi: Remedy;
}

/** What becomes of an answer in a turn with a model of this name, `/running` telling this state. */
export function answered(
  fault: string,
  answers: Answer[],
  says: string,
  pi: Remedy,
  more: { state?: FakeServer["state"]; log?: string[]; name?: string; env?: Record<string, string> } = {},
): FaultRow {
  return { fault, says, pi, provoke: (place) => place.answered(answers, more) };
}

/** A fault of the way, by the code of its error. */
export function coded(code: string, says: string, pi: Remedy): FaultRow {
  const provoke = (place: FaultPlace): Promise<string> => {
    const error = Object.assign(new Error("it failed"), { code });
    return place.answered([{ fault: transportFault(error, place.address) }], {});
  };
  return { fault: code, says, pi, provoke };
}

export function refused(status: number, error: unknown, headers: Record<string, string> = {}): Answer {
  return {
    status,
    headers,
    pieces: [JSON.stringify(typeof error === "string" ? { error, src: "llama-swap" } : { error })],
  };
}
