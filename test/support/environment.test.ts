import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, Socket } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { afterAll, describe, expect, test } from "vitest";
import { environmentProblem, isLoopback, TEST_ENVIRONMENT } from "./environment.ts";

test.each([
  ["127.0.0.1", true],
  ["127.8.9.1", true],
  ["::1", true],
  ["[::1]", true],
  ["::ffff:127.0.0.1", true],
  ["localhost", true],
  ["ai.localhost", true],
  ["192.168.2.3", false],
  ["128.0.0.1", false],
  ["::ffff:10.0.0.1", false],
  ["fe80::1", false],
  ["127.0.0.1.example", false],
  ["localhost.example", false],
])("isLoopback(%s) is %s", (host, expected) => {
  expect(isLoopback(host)).toBe(expected);
});

test("the environment of the tests themselves is accepted", () => {
  expect(environmentProblem(TEST_ENVIRONMENT)).toBeUndefined();
  expect(environmentProblem({ ...TEST_ENVIRONMENT, AI_SERVER_SSH_HOST: "me@127.0.0.1" })).toBeUndefined();
});

test.each([
  [{ AI_SERVER_URL: undefined }, /AI_SERVER_URL is not set/],
  [{ AI_SERVER_URL: "nowhere" }, /AI_SERVER_URL is not a URL/],
  [{ AI_SERVER_URL: "https://192.168.2.2" }, /AI_SERVER_URL must be a loopback address/],
  [{ HF_ENDPOINT: undefined }, /HF_ENDPOINT is not set/],
  [{ HF_ENDPOINT: "https://huggingface.co" }, /HF_ENDPOINT must be a loopback address/],
  [{ AI_SERVER_SSH_HOST: "" }, /AI_SERVER_SSH_HOST is not set/],
  [{ AI_SERVER_SSH_HOST: "ai-server@192.168.2.3" }, /AI_SERVER_SSH_HOST must be "local"/],
])("%o is refused", (change, sentence) => {
  expect(environmentProblem({ ...TEST_ENVIRONMENT, ...change })).toMatch(sentence);
});

test("a test process cannot connect to another machine", () => {
  const refused = /this machine only/;
  expect(() => connect(443, "192.0.2.1")).toThrow(refused);
  expect(() => connect({ host: "192.0.2.1", port: 443 })).toThrow(refused);
  expect(() => new Socket().connect(443, "example.com")).toThrow(refused);
  expect(() => tlsConnect({ host: "2001:db8::1", port: 443 })).toThrow(refused);
});

test("fetch to another machine fails, and a name under .invalid is unknown without asking a resolver", async () => {
  await expect(fetch("http://192.0.2.1/")).rejects.toMatchObject({
    cause: expect.objectContaining({ message: expect.stringMatching(/this machine only/) }),
  });
  await expect(fetch("http://nowhere.invalid/")).rejects.toMatchObject({
    cause: expect.objectContaining({ code: "ENOTFOUND" }),
  });
});

test("a name with its own lookup may lead to this machine and nowhere else", async () => {
  const server = createServer((socket) => socket.end("here")).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  const reach = (ip: string) =>
    new Promise<string>((resolve) => {
      const socket = connect({
        host: "server.example",
        port,
        lookup: (_name, _o, done) => done(null, [{ address: ip, family: 4 }]),
      });
      socket.on("data", (bytes) => resolve(String(bytes)));
      socket.on("error", (error) => resolve(error.message));
    });
  expect(await reach("127.0.0.1")).toBe("here");
  expect(await reach("192.0.2.1")).toMatch(/resolved server\.example to 192\.0\.2\.1/);
  server.close();
});

describe("ssh of a test", () => {
  const folder = mkdtempSync(join(tmpdir(), "guarded-ssh-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  // Tells where it would go, as the real one does, and else that it went.
  const program = `#!/bin/sh\nfor last; do :; done\n[ "$1" = -G ] && echo "hostname \${last#*@}" || echo went\n`;
  writeFileSync(join(folder, "ssh"), program, { mode: 0o755 });

  const ssh = (host: string) => {
    const env = {
      ...process.env,
      PATH: `${process.env.PATH?.split(delimiter)[0]}${delimiter}${folder}${delimiter}/usr/bin:/bin`,
    };
    const { status, stdout, stderr } = spawnSync("ssh", ["-p", "22", host], { encoding: "utf8", env });
    return [status, stdout, stderr];
  };

  test.each(["192.0.2.1", "me@192.168.2.3", "ai.example.org"])("to %s is refused", (host) => {
    expect(ssh(host)).toEqual([97, "", expect.stringMatching(/this machine only/)]);
  });

  test.each(["127.0.0.1", "me@localhost", "user@nowhere.invalid"])("to %s goes its way", (host) => {
    expect(ssh(host)).toEqual([0, "went\n", ""]);
  });
});
