import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const DOCS = fileURLToPath(new URL("../../docs", import.meta.url));

/** One fenced code block of a page, without the indent that it has inside a list. */
export interface DocsBlock {
  page: string;
  line: number;
  language: string;
  text: string;
  /** From `<!-- tried: NAME -->` right above it: the name by which a test asks for it. */
  name: string | undefined;
  /** From `<!-- not tried: REASON -->` right above it. */
  excuse: string | undefined;
}

/** File names of the pages. */
export function docsPages(): string[] {
  return readdirSync(DOCS)
    .filter((name) => name.endsWith(".md"))
    .sort();
}

export function readPage(page: string): string {
  return readFileSync(join(DOCS, page), "utf8");
}

/** All code blocks of a page. @throws for a fence that is not closed */
export function blocksOf(page: string): DocsBlock[] {
  const lines = readPage(page).split("\n");
  const blocks: DocsBlock[] = [];
  for (let at = 0; at < lines.length; at++) {
    const [, indent, language] = /^( *)```(\w*)$/.exec(lines[at] ?? "") ?? [];
    if (indent === undefined || language === undefined) continue;
    const end = lines.indexOf(`${indent}\`\`\``, at + 1);
    if (end < 0) throw new Error(`${page}:${at + 1}: the code block has no end`);
    const above = lines[at - 1] ?? "";
    blocks.push({
      page,
      line: at + 1,
      language,
      text: `${lines
        .slice(at + 1, end)
        .map((line) => line.slice(indent.length))
        .join("\n")}\n`,
      name: /^ *<!-- tried: (.+) -->$/.exec(above)?.[1],
      excuse: /^ *<!-- not tried: (.+) -->$/.exec(above)?.[1],
    });
    at = end;
  }
  return blocks;
}

/** The text of the block that a page marks as tried under this name. @throws when there is none */
export function docsBlock(page: string, name: string): string {
  const block = blocksOf(page).find((candidate) => candidate.name === name);
  if (block === undefined) throw new Error(`docs/${page} has no code block "${name}"`);
  return block.text;
}

/** Replaces what a page has as an example by what the test has; a word that is not there is an error. */
export function withOwn(text: string, replacements: Readonly<Record<string, string>>): string {
  let result = text;
  for (const [word, own] of Object.entries(replacements)) {
    if (!result.includes(word)) throw new Error(`The documented text does not hold "${word}":\n${text}`);
    result = result.replaceAll(word, () => own);
  }
  return result;
}

/** The anchors that the headings of a page have on the usual Git hosts. */
export function headingAnchors(markdown: string): string[] {
  const prose = markdown.replace(/^( *)```[\s\S]*?^\1```$/gm, "");
  return [...prose.matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}
