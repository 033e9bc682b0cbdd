import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Dialogs, noticesIn, yes } from "../support/admin-rpc.ts";
import { type AdminPlace, AdminServer, CONFIG, makeAdminPlace } from "../support/admin-server.ts";
import { piProblem } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { at, RpcPi } from "../support/rpc.ts";
import { Sshd, SshHost } from "../support/sshd.ts";
import { processesWith } from "../support/terminal.ts";

/** One version of pi for each way: what differs between the versions is not here. */
const LOGINS = [
  ["1.5.2", "shell"],
  ["1.6.0", "wrapper"],
] as const;

for (const [version, login] of LOGINS) {
  const problem = (await piProblem(version)) ?? missingProgram("ssh", "sshd");
  realSuite(problem, `administration over a real sshd, pi ${version}`, () => {
    let sshd: Sshd;
    beforeAll(async () => {
      sshd = await Sshd.start();
    });
    afterAll(() => sshd.stop());

    test(`a context size by ${login}: one or two logins, and nothing is left of them`, async () => {
      const host = new SshHost(sshd, login, CONFIG);
      const server = await AdminServer.start(host);
      let place: AdminPlace | undefined;
      try {
        place = await makeAdminPlace(version, server);
        const dialogs = new Dialogs();
        const pi = await RpcPi.start(place.options([], host.variablesOfPi()), dialogs.answer);
        await server.load("steady");
        const before = sshd.logins;
        dialogs.expect(yes);
        const seen = await pi.command("/ai-server-ctx org/Größe:Q4 48k");
        expect(noticesIn(seen).at(-1)).toMatch(
          /^org\/Größe:Q4: the context size is now 49152 tokens \(48k\)\.\nIt is loaded, and a request may use 49152 tokens\./,
        );
        expect(dialogs.question()).toMatch(/^\+ +--ctx-size 49152$/m);
        expect(sshd.logins - before).toBeGreaterThan(0);
        expect(sshd.logins - before).toBeLessThanOrEqual(2);
        expect(host.text).toBe(CONFIG.replace("32768", "49152"));
        expect(host.backups).toHaveLength(1);
        expect(host.leftovers).toEqual([]);
        expect(server.restarts).toBe(1);
        expect([...(await server.running())]).toEqual([["steady", "ready"]]);
        expect(sshLeftIn(place)).toEqual([]);

        dialogs.expect((request) => ({ value: at(request.options, 1) }), yes);
        await pi.command("/ai-server-rollback");
        expect(host.text).toBe(CONFIG);
        // A key that can only run the wrapper cannot download.
        const downloads = login === "wrapper" ? "" : "\\n~/models: .* free · downloads with (hf|curl)";
        expect(noticesIn(await pi.command("/ai-server-status --ssh")).join()).toMatch(
          new RegExp(
            `: reachable\\nstand-in\\.service: active, running\\n.*config\\.yaml: -rw-r-----, 5 models\\nWhat fits is not known: .*${downloads}$`,
          ),
        );
        expect(noticesIn(await pi.command("/ai-server-logs")).join()).toMatch(/started again/);
        expect(await pi.close()).toBe(0);
        const { agentDir } = place;
        await eventually("no ssh is left", () => (processesWith(agentDir).length === 0 ? true : undefined));
        expect(sshLeftIn(place)).toEqual([]);
      } finally {
        await server.stop();
        await place?.remove();
      }
    });

    test(`a model removed by ${login}: its file goes where the key can do that`, async () => {
      const host = new SshHost(sshd, login, CONFIG);
      const file = join(host.folder, "steady model.gguf");
      writeFileSync(file, "x".repeat(3000));
      host.own(file);
      const text = CONFIG.replace("/models/steady.gguf", `'${file}'`);
      writeFileSync(host.path, text);
      const server = await AdminServer.start(host);
      let place: AdminPlace | undefined;
      try {
        place = await makeAdminPlace(version, server);
        const dialogs = new Dialogs();
        const pi = await RpcPi.start(place.options([], host.variablesOfPi()), dialogs.answer);
        await server.load("steady");
        const before = sshd.logins;
        dialogs.expect(yes, yes);
        const seen = noticesIn(await pi.command("/ai-server-remove steady"));
        expect(seen[0]).toMatch(/^steady is no longer in the config\.\nThe server answers with it\./);
        expect(dialogs.question()).toMatch(/^- {2}steady:$/m);
        expect([host.text, host.backups.length]).toEqual([text.replace(/ {2}steady:\n(.+\n){2}/, ""), 1]);
        expect([...(await server.running())]).toEqual([]);
        expect(sshd.logins - before).toBeLessThanOrEqual(2);
        if (login === "shell") {
          expect(dialogs.question(1)).toContain(`${file} (2.9 KiB)`);
          expect([seen.at(-1), existsSync(file)]).toEqual(["Deleted 1 file, 2.9 KiB.", false]);
        } else {
          expect(dialogs.asked).toHaveLength(1);
          expect(seen.at(-1)).toContain("may only run ai-server-admin (AI_SERVER_SSH_MODE=wrapper)");
          expect(existsSync(file)).toBe(true);
          rmSync(file);
        }
        expect(host.leftovers).toEqual([]);
        expect(await pi.close()).toBe(0);
      } finally {
        await server.stop();
        await place?.remove();
      }
    });
  });
}

function sshLeftIn({ tmp }: AdminPlace): string[] {
  return readdirSync(tmp).filter((name) => name.startsWith("pi-ssh-"));
}
