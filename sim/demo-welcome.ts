/** Loaded into the demo's pi: says what there is to try. */
import type { ExtensionAPI } from "@earendil-works/pi-coding-agent";

const WELCOME = `The demo: real pi, with a stand-in for the server on this machine. Try:
  What files are in this folder?
  /ai-server          the panel: models, memory, requests
  /ai-server-add      adds a model: type wren
  /ai-server-ctx      changes a context size
  /ai-server-logs     shows the server's log
  /ai-server-devices  adds a phone, revokes it, renews the certificate
  /ai-server-doctor   finds three faults, and fixes one with --fix
Ctrl+D ends it and removes everything.`;

export default function demoWelcome(pi: ExtensionAPI): void {
  pi.on("session_start", ({ reason }, { ui }) => {
    if (reason === "startup") ui.notify(WELCOME, "info");
  });
}
