/** What a command answers, as data; `output.ts` shows it in each of pi's modes. Pure. */

export type Level = "info" | "warning" | "error";

export type Paint = (text: string) => string;

/** How the parts of a result look. Outside the terminal everything is plain text. */
export interface Style {
  readonly heading: Paint;
  /** As it should be: a model that is ready. */
  readonly ok: Paint;
  /** On its way, or worth a look. */
  readonly busy: Paint;
  readonly bad: Paint;
  /** Secondary. */
  readonly dim: Paint;
  /** Text after a title; in the terminal it is wrapped beside the title. */
  hanging(title: string, text: string, width: number): readonly string[];
}

export interface Result {
  readonly level: Level;
  /** Whether programs read it, whatever it says: print mode writes it to standard output, and RPC clients get JSON. */
  readonly isReport?: boolean;
  /** One line; in the terminal it stands apart. */
  readonly heading?: string;
  /** Text, or lines of at most `width` columns; longer ones are wrapped in the terminal. */
  readonly content: string | ((width: number, style: Style) => readonly string[]);
  /** The same as plain data, for JSON mode. */
  readonly data?: Readonly<Record<string, unknown>>;
}

export const unpainted: Paint = (text) => text;

export const PLAIN: Style = {
  heading: unpainted,
  ok: unpainted,
  busy: unpainted,
  bad: unpainted,
  dim: unpainted,
  hanging: (title, text) => `${title}${text.replaceAll("\n", `\n${" ".repeat(title.length)}`)}`.split("\n"),
};

/** A result without colours. @param width that its tables may have */
export function plainLines({ heading, content }: Result, width: number): string[] {
  const lines = typeof content === "string" ? content.split("\n") : content(width, PLAIN);
  return [...(heading === undefined ? [] : [heading]), ...lines];
}
