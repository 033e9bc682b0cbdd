/** What one check of the way to the model has seen. */
import type { Question } from "../../ui/question.ts";
import { type Call, isConfirmed } from "../call.ts";
import type { Visit } from "./visit.ts";

/** `unchecked`: nothing is known, and nothing is wrong with that. */
export type Verdict = "ok" | "warning" | "fault" | "unchecked";

/** Something small and safe that the doctor can do. */
export interface Fix {
  /** Completes `--fix can …`. */
  readonly does: string;
  /**
   * Shows what will be done, asks, and does it.
   *
   * @returns whether it was done
   * @throws {ServerError}
   */
  run(call: Call): Promise<boolean>;
}

export interface Finding {
  /** For scripts; never changes. */
  readonly check: string;
  /** What was looked at, in a few words. */
  readonly subject: string;
  readonly verdict: Verdict;
  /** A sentence, or a few words with figures; of an unchecked link the reason. */
  readonly seen: string;
  /** What to do. */
  readonly next?: string | undefined;
  readonly fix?: Fix | undefined;
}

/** The checks of one part of the way, in the order in which they are shown. */
export interface Group {
  readonly name: "laptop" | "way" | "server" | "config" | "machine" | "model";
  readonly title: string;
  /** A check that cannot be made gives an unchecked finding. @throws the signal's reason */
  examine(visit: Visit): AsyncIterable<Finding>;
}

export function ok(check: string, subject: string, seen: string): Finding {
  return { check, subject, verdict: "ok", seen };
}

export function unchecked(check: string, subject: string, why: string): Finding {
  return { check, subject, verdict: "unchecked", seen: why };
}

/** @param next what the user can do */
export function warning(check: string, subject: string, seen: string, next: string, fix?: Fix): Finding {
  return { check, subject, verdict: "warning", seen, next, fix };
}

/** @param next what the user can do */
export function fault(check: string, subject: string, seen: string, next: string, fix?: Fix): Finding {
  return { check, subject, verdict: "fault", seen, next, fix };
}

/**
 * A fix that asks one question.
 *
 * @param choices what keeps everything as it is, and what carries it out
 */
export function asking(
  does: string,
  question: Question,
  choices: readonly [keep: string, change: string],
  carryOut: (call: Call) => Promise<void>,
): Fix {
  return {
    does,
    async run(call) {
      if (!(await isConfirmed(call, question, choices))) return false;
      await carryOut(call);
      return true;
    },
  };
}
