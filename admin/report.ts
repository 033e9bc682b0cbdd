/** How things ended, as sentences without secrets. Pure. */
import type { ChangeOutcome, FileState, StepName } from "../host/outcome.ts";
import type { ContextVerdict } from "../host/probe.ts";
import { sentenceOf } from "../lib/errors.ts";
import { maskText } from "../masking/masking.ts";
import type { Level } from "../ui/result.ts";

const FAILED: Readonly<Record<StepName, string>> = {
  read: "Reading the config failed.",
  status: "The unit's state could not be read.",
  write: "Writing the config failed.",
  reload: "The router did not accept the new config.",
  "await reload": "llama-swap did not accept the new config.",
  restart: "The restart failed.",
  answer: "The server did not come back with the new config.",
  load: "The model could not be loaded with the new config.",
  verify: "The server does not show the new config.",
  "verify gone": "The server does not show the new config.",
  "load again": "The models that were loaded before could not be loaded again.",
  restore: "The previous config could not be restored.",
};

export interface Report {
  readonly level: Level;
  readonly text: string;
}

/** What went wrong, as a sentence: it may quote a program of the server's. */
export function faultText(error: unknown): string {
  return maskText(sentenceOf(error), "log");
}

function backupWords(backup: string | undefined, path: string): string {
  return backup === undefined ? "" : `The previous version is in ${path}.bak-${backup}.`;
}

/** How the live window compares with the one that was asked for. */
export function verdictWords(verdict: ContextVerdict): string {
  switch (verdict.kind) {
    case "as asked":
      return `It is loaded, and a request may use ${verdict.tokens} tokens.`;
    case "less":
      return `It is loaded, and a request may use ${verdict.tokens} tokens instead of ${verdict.expected}: ${verdict.why}.`;
    case "unknown":
      return `It is loaded; ${verdict.why}.`;
  }
}

const UNSEEN =
  "The server answers, but nothing shows whether llama-swap has read the config; the next load will.";

const FILE_NOW: Readonly<Record<FileState, string>> = {
  old: "The config is unchanged.",
  new: "The new config is in place.",
  other: "Another edit changed the config meanwhile; it was kept.",
  unknown: "The config could not be read afterwards; it is intact, either the old version or the new one.",
};

function join(...parts: readonly string[]): string {
  return parts.filter((part) => part !== "").join("\n");
}

type RolledBack = Extract<ChangeOutcome, { kind: "rolled back" }>;

function rolledBack(outcome: RolledBack, path: string): string {
  const { failed, reason, log, file, isHealthy, trouble, backup, notes } = outcome;
  const isBack = file === "old";
  const now = isBack
    ? isHealthy
      ? "The previous config is restored, and the server answers with it."
      : "The previous config is restored, but the server does not answer yet."
    : FILE_NOW[file];
  const next = isBack && isHealthy ? "" : "See /ai-server-logs for the unit's journal.";
  const words = log.length === 0 ? "" : join("From the server's log:", ...log.slice(-8));
  return join(
    `${FAILED[failed]} ${reason}`,
    now,
    trouble,
    isBack ? "" : backupWords(backup, path),
    ...notes,
    words,
    next,
  );
}

/**
 * @param changed what was done, as a sentence, where it was
 * @param path of the file, as the user knows it
 */
export function reportOf(outcome: ChangeOutcome, changed: string, path: string): Report {
  const { level, text } = reportWithSecrets(outcome, changed, path);
  // Reasons and notes quote logs and command lines.
  return { level, text: maskText(text, "log") };
}

function reportWithSecrets(outcome: ChangeOutcome, changed: string, path: string): Report {
  switch (outcome.kind) {
    case "refused":
      return { level: "error", text: outcome.reason };
    case "changed": {
      const { backup, context, notes, isUnseen = false } = outcome;
      const answers = isUnseen ? UNSEEN : "The server answers with it.";
      const proof = context === undefined ? answers : verdictWords(context);
      const text = join(changed, proof, backupWords(backup, path), ...notes);
      const isWarning = isUnseen || notes.length > 0 || context?.kind === "less";
      return { level: isWarning ? "warning" : "info", text };
    }
    case "rolled back":
      return { level: "error", text: rolledBack(outcome, path) };
    case "cancelled":
      return {
        level: "warning",
        text: join(
          "Cancelled.",
          FILE_NOW[outcome.file],
          outcome.file === "new" ? "The server has not been checked with it yet." : "",
          outcome.file === "old" ? "" : backupWords(outcome.backup, path),
        ),
      };
  }
}
