/** The texts that the direct way sends to the server's `sh`. */
import { readFileSync } from "node:fs";
import { sharedFunctions } from "./protocol.ts";

type Script = "ai-server-admin" | "ai-server-download" | "ai-server-examine" | "ai-server-ca";

function functionsOf(script: Script): string {
  const text = readFileSync(new URL(`../${script}`, import.meta.url), "utf8");
  return sharedFunctions(text.replaceAll("\r\n", "\n"));
}

/** What answers the verbs of `ai-server-admin`. */
export function adminFunctions(): string {
  return functionsOf("ai-server-admin");
}

/** What answers the verbs for downloads: it uses the functions of `ai-server-admin` too. */
export function downloadFunctions(): string {
  return adminFunctions() + functionsOf("ai-server-download");
}

/** What answers the verbs of `ai-server-examine`: it uses the functions of the other two. */
export function examineFunctions(): string {
  return downloadFunctions() + functionsOf("ai-server-examine");
}

/** What answers the verbs of `ai-server-ca`: it uses the functions of `ai-server-admin` too. */
export function caFunctions(): string {
  return adminFunctions() + functionsOf("ai-server-ca");
}

/** A script of its own, for what runs on by itself on the server. */
export function workerScript(): string {
  return `#!/bin/sh\n${downloadFunctions()}\nwork "$@"\n`;
}
