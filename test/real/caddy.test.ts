import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { readConfig } from "../../config.ts";
import { REAL_CLOCK } from "../../lib/clock.ts";
import { Http, readText } from "../../server/http/http.ts";
import { transportFault } from "../../server/http/transport-faults.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type Caddy, startCaddy } from "../support/caddy.ts";
import { writeCertificates } from "../support/certificates.ts";
import { countingProxy } from "../support/network.ts";
import { EXTENSION, makeWorkplace, NEWEST_PI, piProblem, runPi } from "../support/pi.ts";
import { eventually } from "../support/processes.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { parseJsonLines } from "../support/rpc.ts";
import { model, transcript, user } from "../support/samples.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import { beginTurn, type RunningTurn } from "../support/turns.ts";

realSuite(missingProgram("caddy"), "behind real Caddy", () => {
  let folder: string;
  let standIn: StandIn;
  let caddy: Caddy;
  const opened: Http[] = [];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "caddy-certs-"));
    await writeCertificates(folder);
    standIn = await startStandIn({ tls: "none" });
    const pem = (name: string) => join(folder, name);
    const files = {
      certificate: pem("server.pem"),
      key: pem("server-key.pem"),
      clientCa: pem("root-ca.pem"),
    };
    caddy = await startCaddy({ ...files, upstream: new URL(standIn.url).host });
  });
  afterAll(async () => {
    await caddy.stop();
    await standIn.stop();
    await rm(folder, { recursive: true, force: true });
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((http) => http.close()));
  });

  /** The variables of a client that shows the certificate `name`. */
  function variables(name: string, url = caddy.url): Record<string, string> {
    return {
      AI_SERVER_URL: url,
      AI_SERVER_CERTS_DIR: folder,
      AI_SERVER_CLIENT_CERT: `${name}.pem`,
      AI_SERVER_CLIENT_KEY: `${name}-key.pem`,
    };
  }

  function address(name: string, url?: string) {
    return readConfig(variables(name, url), {}, folder);
  }

  /** @param now what the client's clock says */
  function client(name: string, url?: string, now = Date.now): Http {
    const http = new Http(address(name, url), now);
    opened.push(http);
    return http;
  }

  const models = (http: Http) => http.json("/v1/models", { timeoutMs: 10_000 });

  test("the right certificate gets through, and an answer streams piece by piece", async () => {
    const http = client("client");
    expect(await models(http)).toMatchObject({ object: "list" });
    const messages = [{ role: "user", content: "sim: tokens 60" }];
    const body = JSON.stringify({ model: "slow", stream: true, messages });
    const { status, body: stream } = await http.request({
      method: "POST",
      path: "/v1/chat/completions",
      body,
    });
    expect(status).toBe(200);
    const pieces: string[] = [];
    for await (const bytes of stream) pieces.push(String(bytes));
    // Sixty tokens at sixty a second: a proxy that gathered them would hand over one or two pieces.
    expect(pieces.length).toBeGreaterThan(20);
    expect(pieces.join("")).toMatch(/data: \[DONE\]\s+$/);
  });

  test("HTTP/1.1 is spoken although Caddy offers HTTP/2", async () => {
    expect(await offeredProtocol()).toBe("h2");
    const before = caddy.log().length;
    await models(client("client"));
    const entries = await eventually("Caddy has logged the request", () => {
      const complete = caddy
        .log()
        .slice(before)
        .replace(/[^\n]*$/, "");
      const found = parseJsonLines(complete).filter((entry) => "request" in entry);
      return found.length > 0 ? found : undefined;
    });
    expect(entries).toMatchObject([{ status: 200, request: { proto: "HTTP/1.1", uri: "/v1/models" } }]);
  });

  /** What Caddy chooses for a client that can do both. */
  function offeredProtocol(): Promise<string | false | null> {
    return new Promise((resolve, reject) => {
      const options = {
        host: "localhost",
        port: caddy.port,
        servername: "localhost",
        rejectUnauthorized: false,
      };
      const socket = tlsConnect({ ...options, ALPNProtocols: ["h2", "http/1.1"] }, () => {
        resolve(socket.alpnProtocol);
        socket.destroy();
      });
      socket.once("error", reject);
    });
  }

  test("twenty requests, one of them a stream, need one connection", async () => {
    const proxy = await countingProxy(caddy.port);
    const http = client("client", `https://localhost:${proxy.port}`);
    for (let round = 0; round < 19; round += 1) await models(http);
    const body = JSON.stringify({
      model: "thinker",
      stream: true,
      messages: [{ role: "user", content: "Hello" }],
    });
    const answer = await http.request({ method: "POST", path: "/v1/chat/completions", body });
    expect(await readText(answer.body, 1_000_000)).toContain("[DONE]");
    await models(http);
    expect(proxy.connections()).toBe(1);
    await http.close();
    await proxy.stop();
  });

  test("no certificate: refused, in a sentence of its own", async () => {
    const error = await new Promise((resolve) => {
      const ca = client("client").identity();
      void ca.then((identity) => {
        const request = httpsRequest(`${caddy.url}/v1/models`, { ca: identity?.ca }, () =>
          resolve(undefined),
        );
        request.on("error", resolve);
        request.end();
      });
    });
    expect(transportFault(error, address("client"))).toMatchObject({
      link: "TLS",
      remedy: "none",
      // Caddy 2.6 sends the alert "bad certificate" here as well, today's "certificate required".
      message: expect.stringMatching(
        /^The server (demands a client certificate|refused the client certificate)/,
      ),
    });
  });

  test("files that are missing are named before anything is sent", async () => {
    const before = caddy.log().length;
    await expect(models(client("absent"))).rejects.toMatchObject({
      link: "certificates",
      message: expect.stringContaining(
        `The client certificate is missing: there is no file ${folder}/absent.pem.`,
      ),
    });
    // Caddy's own start may still be talking.
    expect(caddy.log().slice(before)).not.toMatch(/handled request|TLS handshake/);
  });

  // The refusal comes with the first read of TLS 1.3, in a race with the request that is being written.
  test.each(Array.from({ length: 10 }, (_, round) => round))(
    "another CA's certificate is refused (%i)",
    async () => {
      await expect(models(client("stranger"))).rejects.toMatchObject({
        link: "TLS",
        remedy: "none",
        message: `The server refused the client certificate ${folder}/stranger.pem. It may have been revoked, come from another CA than the one Caddy trusts, or lack the client-auth usage.`,
      });
    },
  );

  test("an expired certificate is named before connecting, with its dates", async () => {
    await expect(models(client("expired"))).rejects.toMatchObject({
      link: "certificates",
      message: expect.stringMatching(
        /expired\.pem expired on \d{4}-\d\d-\d\d \(valid from \d{4}-\d\d-\d\d\)\. Renew it with /,
      ),
    });
  });

  test("an expired certificate is refused by Caddy, where only this machine's clock is late", async () => {
    const late = () => Date.now() - 2 * 3_600_000;
    await expect(models(client("expired", undefined, late))).rejects.toMatchObject({
      link: "TLS",
      remedy: "none",
      message: expect.stringMatching(/client certificate .*expired\.pem/),
    });
  });

  test("a server certificate of another CA is not trusted", async () => {
    const config = readConfig({ ...variables("client"), AI_SERVER_CA: "other-ca.pem" }, {}, folder);
    const http = new Http(config);
    opened.push(http);
    await expect(models(http)).rejects.toMatchObject({
      link: "TLS",
      message: expect.stringContaining(`is not signed by the CA in ${folder}/other-ca.pem`),
    });
  });

  test("llama-swap gone behind Caddy is not taken for a fault of Caddy or the certificate", async () => {
    const http = client("client");
    await standIn.whileDown(async () => {
      await expect(models(http)).rejects.toMatchObject({ link: "server", remedy: "retry", status: 502 });
    });
    expect(await models(http)).toMatchObject({ object: "list" });
  });

  test("a turn begun while llama-swap restarts behind Caddy waits for it, and is answered", async () => {
    const server = new ModelServer(address("client"));
    const clock = { now: Date.now, sleep: REAL_CLOCK.sleep };
    const begin = (text: string) =>
      beginTurn(server, { clock, on: model({ id: "small" }), context: transcript(user(text)) });
    expect((await begin("sim: say Before").ended).message.stopReason).toBe("stop");
    let turn: RunningTurn | undefined;
    await standIn.whileDown(async () => {
      turn = begin("sim: say After");
      const isDown = { kind: "down", by: undefined };
      await expect.poll(() => turn?.activities, { timeout: 10_000 }).toContainEqual(isDown);
    });
    expect((await turn?.ended)?.message.content).toEqual([{ type: "text", text: "After" }]);
    await server.close();
  });

  test(`pi ${NEWEST_PI} holds a turn through it, and says why it cannot with another CA's certificate`, async () => {
    expect(await piProblem(NEWEST_PI)).toBeUndefined();
    const place = await makeWorkplace();
    await writeFile(join(place.agentDir, "settings.json"), JSON.stringify({ retry: { enabled: false } }));
    const options = { version: NEWEST_PI, agentDir: place.agentDir, offline: false };
    const args = ["-e", EXTENSION, "-p", "--model", "ai-server/thinker", "sim: say Through Caddy."];
    const good = await runPi({ ...options, args, env: variables("client") });
    expect(good).toMatchObject({ code: 0, stdout: "Through Caddy.\n" });
    const refused = await runPi({ ...options, args, env: variables("stranger") });
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain("The server refused the client certificate");
    await place.remove();
  });
});
