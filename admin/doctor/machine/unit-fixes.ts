/** What the doctor can do about the unit. */
import type { Examiner } from "../../../host/examine/examiner.ts";
import { newUnit } from "../../../host/examine/new-unit.ts";
import { type Call, serverFor } from "../../call.ts";
import { openHost } from "../../host-access.ts";
import { asking, type Fix } from "../finding.ts";
import { isLlamaSwap, type Site } from "./site.ts";

/** Starts the unit with the machine. */
export function enabling({ host, facts }: Site): Fix {
  const { serviceUnit } = host.config;
  return asking(
    "enable the unit",
    {
      title: `Let ${serviceUnit} start with the machine?`,
      consequences: [
        `It runs systemctl --user enable ${serviceUnit} on the server, as ${facts.user}. Nothing is started now.`,
      ],
    },
    ["Leave it as it is", "Enable it"],
    (call) => onMachine(call, (examiner) => examiner.enableUnit(call.waiting.signal)),
  );
}

/** Writes a unit for a server that has none; undefined where it is not known what would be in it. */
export function writing(site: Site): Fix | undefined {
  const { host, facts } = site;
  const { serviceUnit, presetPath } = host.config;
  const kind = isLlamaSwap(site) ? "llama-swap" : site.kind;
  if (kind !== "llama-swap" && kind !== "router") return undefined;
  const program = facts.programs.get(kind === "router" ? "llama-server" : "llama-swap");
  const text =
    program === undefined ? undefined : newUnit({ kind, program, configPath: presetPath, home: facts.home });
  if (text === undefined || !serviceUnit.endsWith(".service")) return undefined;
  const path = `~/.config/systemd/user/${serviceUnit}`;
  return asking(
    "write the missing unit",
    {
      title: `Write ${serviceUnit} on the server, and enable it?`,
      consequences: [
        "Nothing is started now: /ai-server-restart does that. If the server runs already in another way, end that first.",
        "It listens on port 8080 for the whole network, and asks for no password: let the Caddy host alone reach it (docs/server.md).",
      ],
      diff: {
        title: path,
        lines: text
          .trimEnd()
          .split("\n")
          .map((line) => `+${line}`),
      },
    },
    ["Write nothing", "Write and enable it"],
    (call) =>
      onMachine(call, async (examiner) => {
        await examiner.writeUnit(text, call.waiting.signal);
        await examiner.enableUnit(call.waiting.signal);
      }),
  );
}

/** Does something on the machine over a connection of its own: that of the visit is closed when a fix runs. */
export async function onMachine(call: Call, work: (examiner: Examiner) => Promise<void>): Promise<void> {
  const host = await openHost(await serverFor(call), call.waiting.signal);
  try {
    await work(host.examiner);
  } finally {
    await host.close();
  }
}
