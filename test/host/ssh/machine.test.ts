import { readFileSync, utimesSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { ShellSettings } from "../../../host/ssh/shell.ts";
import { FILE, LocalHost } from "../../support/local-host.ts";
import { machineSuite } from "../../support/machine-suite.ts";

describe.each(["direct", "wrapper"] as const)("%s", (mode) => {
  machineSuite((text) => {
    const host = new LocalHost(text);
    host.hurryClock();
    const machine = host.machine.bind(host);
    return Object.assign(host, { machine: (change?: Partial<ShellSettings>) => machine(mode, change) });
  });
});

test("ignores a stamp and a mode that are none", async () => {
  const host = new LocalHost("models: {}\n");
  const nonce = "n=$(sed -n 's/^ai-server-1 //p')";
  const answer = "file YQ== -rw\\033[2J\\ncontent\\n.\\nstamp \\033[2J\\nhash x";
  host.tool("sh", `${nonce}; printf "\\n%s begin\\n${answer}\\n%s end\\n" "$n" "$n"`);
  try {
    expect(await host.machine().write("", "0".repeat(64), "a")).toEqual({ hash: "x", backup: undefined });
    expect((await host.machine().read())[0]?.mode).toBe("-rw");
  } finally {
    host.remove();
  }
});

test("treats backups from a clock that was ahead as the older ones, and removes them first", async () => {
  const host = new LocalHost("0");
  const time = Date.UTC(2099, 0, 1);
  const stampOf = (ms: number): string => new Date(ms).toISOString().replace(/[-:]|\.\d+/g, "");
  const wrong = Array.from({ length: 10 }, (_, at) => stampOf(time + at * 1000));
  try {
    for (const [at, stamp] of wrong.entries()) {
      const path = `${host.path}.bak-${stamp}`;
      writeFileSync(path, `wrong ${at}`);
      host.own(path);
      utimesSync(path, time / 1000 + at, time / 1000 + at);
    }
    const machine = host.machine();
    const stamps = async () => (await machine.list(FILE)).map(({ stamp }) => stamp);
    expect(await stamps()).toEqual(wrong);
    const made: (string | undefined)[] = [];
    for (const text of ["1", "2"]) {
      const [file] = await machine.read();
      made.push((await machine.write(text, file?.hash ?? "", FILE)).backup);
      expect(await stamps()).toEqual([...wrong.slice(made.length), ...made]);
    }
    expect(made.map((stamp) => readFileSync(`${host.path}.bak-${stamp}`, "utf8"))).toEqual(["0", "1"]);
    const current = (await machine.read())[0];
    const last = (await machine.list(FILE)).at(-1);
    expect(last).toMatchObject({ hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    await machine.restore(last?.stamp ?? "", current?.hash ?? "", FILE);
    expect(host.text).toBe("1");
  } finally {
    host.remove();
  }
});

test("a file whose name would control the terminal is shown by numbers, and read and written by its name", async () => {
  const host = new LocalHost("a");
  const odd = "b\u001b]52;c;QQ==\u0007.yaml";
  const path = `${host.folder}/${odd}`;
  writeFileSync(path, "odd", { mode: 0o640 });
  host.own(path);
  try {
    const machine = host.machine("direct", { presetPath: host.folder });
    const file = (await machine.read()).at(0);
    expect(file).toMatchObject({ name: "b\\u{1b}]52;c;QQ==\\u{7}.yaml", text: "odd" });
    const { backup = "" } = await machine.write("new", file?.hash ?? "", file?.name ?? "");
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(await machine.list(file?.name ?? "")).toMatchObject([{ stamp: backup, bytes: 3 }]);
    expect((await machine.readBackup(backup, file?.name ?? "")).text).toBe("odd");
  } finally {
    host.remove();
  }
});
