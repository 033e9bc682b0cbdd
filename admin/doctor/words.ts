/** How the findings of the doctor are shown, and as data. Pure. */
import { counted } from "../../lib/figures.ts";
import { cleanLine } from "../../lib/text.ts";
import { maskText } from "../../masking/masking.ts";
import type { Result, Style } from "../../ui/result.ts";
import type { Finding, Group, Verdict } from "./finding.ts";

/** A group with what it has found so far. */
export interface Examination {
  readonly group: Group;
  readonly findings: readonly Finding[];
  /** Whether the user stopped it before its last check. */
  readonly isStopped?: boolean;
  /** What then stays on the server, as a sentence. */
  readonly leaves?: string | undefined;
}

const MARKS: Readonly<Record<Verdict, string>> = { ok: "✓", warning: "!", fault: "✗", unchecked: "–" };

const PAINTS = { ok: "ok", warning: "busy", fault: "bad", unchecked: "dim" } as const satisfies Record<
  Verdict,
  keyof Style
>;

/** A sentence may quote what a program of the server's wrote. */
function shown(text: string): string {
  return cleanLine(maskText(text, "log").replaceAll("\n", " "));
}

/** One finding as a line, and what to do as a second one. */
export function findingLines(
  { subject, verdict, seen, next }: Finding,
  width: number,
  style: Style,
): string[] {
  const mark = style[PAINTS[verdict]](MARKS[verdict]);
  const isQuiet = verdict === "ok" || verdict === "unchecked";
  const text = `${subject}: ${shown(seen)}`;
  const words = verdict === "unchecked" ? style.dim(text) : text;
  const lines = style.hanging(`${mark} `, words, width);
  if (isQuiet || next === undefined) return [...lines];
  return [...lines, ...style.hanging("  → ", shown(next), width)];
}

export function examinedLines(examined: readonly Examination[], width: number, style: Style): string[] {
  return examined
    .filter(({ findings }) => findings.length > 0)
    .flatMap(({ group, findings }, at) => [
      ...(at === 0 ? [] : [""]),
      style.heading(group.title),
      ...findings.flatMap((finding) => findingLines(finding, width, style)),
    ]);
}

function countOf(findings: readonly Finding[], verdict: Verdict): number {
  return findings.filter((finding) => finding.verdict === verdict).length;
}

/** `2 faults, 1 warning, 31 checks in order, 4 not made.` */
function summary(findings: readonly Finding[]): string {
  const faults = countOf(findings, "fault");
  const warnings = countOf(findings, "warning");
  const fine = countOf(findings, "ok");
  const unseen = countOf(findings, "unchecked");
  return `${[
    ...(faults === 0 ? [] : [counted(faults, "fault")]),
    ...(warnings === 0 ? [] : [counted(warnings, "warning")]),
    `${counted(fine, "check")} in order`,
    ...(unseen === 0 ? [] : [`${unseen} not made`]),
  ].join(", ")}.`;
}

/** What is wrong, once more at the end: the lines before may have left the screen. */
function closing(examined: readonly Examination[], isFixing: boolean, width: number, style: Style): string[] {
  const findings = examined.flatMap((one) => one.findings);
  const isOf = (verdict: Verdict) => (finding: Finding) => finding.verdict === verdict;
  const problems = [...findings.filter(isOf("fault")), ...findings.filter(isOf("warning"))];
  const fixable = findings.flatMap(({ fix }) => (fix === undefined ? [] : [fix.does]));
  const stopped = examined.find(({ isStopped }) => isStopped);
  const left = stopped?.leaves === undefined ? "" : ` ${stopped.leaves}`;
  return [
    "",
    ...(stopped === undefined ? [] : [style.busy(`Stopped; the rest was not checked.${left}`)]),
    style.heading(summary(findings)),
    ...problems.flatMap((finding) => findingLines(finding, width, style)),
    ...(fixable.length === 0 || isFixing
      ? []
      : [
          `/ai-server-doctor --fix can ${new Intl.ListFormat("en-GB").format(fixable)}; it asks before each.`,
        ]),
  ];
}

/** @param isFixing whether the user has asked for `--fix` */
export function resultOf(examined: readonly Examination[], isFixing: boolean): Result {
  const findings = examined.flatMap((one) => one.findings);
  const faults = countOf(findings, "fault");
  const warnings = countOf(findings, "warning");
  return {
    isReport: true,
    level: faults > 0 ? "error" : warnings > 0 ? "warning" : "info",
    content: (width, style) => [
      ...examinedLines(examined, width, style),
      ...closing(examined, isFixing, width, style),
    ],
    data: {
      summary: {
        faults,
        warnings,
        ok: countOf(findings, "ok"),
        unchecked: countOf(findings, "unchecked"),
      },
      findings: examined.flatMap(({ group, findings }) =>
        findings.map(({ check, subject, verdict, seen, next, fix }) => ({
          group: group.name,
          check,
          subject,
          verdict,
          seen: shown(seen),
          next: next === undefined ? null : shown(next),
          fixable: fix !== undefined,
        })),
      ),
    },
  };
}
