import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { SIZES } from "../../admin/doctor/way/passage.ts";
import type { Variables } from "../../config.ts";
import { ModelServer } from "../../server/model-server.ts";
import { type CaddyOptions, startCaddy } from "../support/caddy.ts";
import { writeCertificates } from "../support/certificates.ts";
import { llamaServerProblem, startLlamaServer, startRouter, TINY_MODEL } from "../support/llama-server.ts";
import { missingProgram, realSuite } from "../support/programs.ts";
import { type StandIn, startStandIn } from "../support/stand-in.ts";
import { isAnswering, problems, type Way, wayOf } from "../support/way-place.ts";
import { clientOf, kept } from "../support/wire.ts";

realSuite(missingProgram("caddy"), "the way through real Caddy", () => {
  let folder: string;
  let standIn: StandIn;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "doctor-caddy-"));
    await writeCertificates(folder);
    standIn = await startStandIn({ tls: "none" });
  });
  afterAll(async () => {
    await standIn.stop();
    await rm(folder, { recursive: true, force: true });
  });

  async function through(options: Partial<CaddyOptions> = {}, more: Variables = {}): Promise<Way> {
    const pem = (name: string) => join(folder, name);
    const files = {
      certificate: pem("server.pem"),
      key: pem("server-key.pem"),
      clientCa: pem("root-ca.pem"),
    };
    const caddy = await startCaddy({ ...files, upstream: new URL(standIn.url).host, ...options });
    onTestFinished(() => caddy.stop());
    return wayOf({ AI_SERVER_URL: caddy.url, AI_SERVER_CERTS_DIR: folder, ...more }, { sizes: SIZES });
  }

  test("has nothing wrong, and Caddy offers HTTP/2", async () => {
    const way = await through();
    expect(problems(way)).toEqual([]);
    expect(way.found["http-version"]?.seen).toBe("HTTP/1.1 is used; the server offers HTTP/2 as well");
    expect(way.found["client-certificate-demanded"]?.seen).toBe("a request without one is refused");
    expect(way.found.clock?.verdict).toBe("ok");
    expect(way.found.stream?.verdict).toBe("ok");
    expect(way.found["body-size"]?.seen).toBe("a request of 8 MiB passes");
    expect(await standIn.running()).toEqual([]);
  });

  test("without client_auth is open to everyone", async () => {
    const way = await through({ clientCa: undefined });
    expect(problems(way)).toMatchObject([{ check: "client-certificate-demanded", verdict: "fault" }]);
  });

  test("does not admit a certificate of another CA", async () => {
    const stranger = { AI_SERVER_CLIENT_CERT: "stranger.pem", AI_SERVER_CLIENT_KEY: "stranger-key.pem" };
    const way = await through({}, stranger);
    expect(problems(way)).toMatchObject([{ check: "client-certificate", verdict: "fault" }]);
    expect(way.outOfReach).toContain(`The server refused the client certificate ${folder}/stranger.pem`);
  });

  test("shows a certificate of another CA", async () => {
    const way = await through({}, { AI_SERVER_CA: "other-ca.pem" });
    expect(problems(way)).toMatchObject([{ check: "tls", verdict: "fault" }]);
    expect(way.outOfReach).toContain("is not signed by the CA in");
  });

  test("with request_body max_size 1MB takes no large request", async () => {
    const way = await through({ site: "request_body {\n max_size 1MB\n }" });
    expect(problems(way)).toMatchObject([{ check: "body-size", verdict: "warning" }]);
    // Caddy 2.6 answers 502 where a newer one answers 413.
    expect(way.found["body-size"]?.seen).toMatch(/^a request of 1 MiB does not pass \(HTTP (?:413|502)\)$/);
  });

  test("with buffer_responses holds streams back", async () => {
    const way = await through({ proxy: "buffer_responses" });
    expect(problems(way)).toMatchObject([{ check: "stream", verdict: "warning" }]);
  });

  test("leads to a server that is stopped", async () => {
    await standIn.whileDown(async () => {
      const way = await through();
      expect(problems(way)).toMatchObject([{ check: "answer", verdict: "fault" }]);
      expect(way.outOfReach).toContain("the model server behind it does not (HTTP 502)");
      expect(way.found["client-certificate"]?.verdict).toBe("ok");
    });
  });
});

realSuite(llamaServerProblem(), "the way to real llama.cpp", () => {
  test("a llama-server has nothing wrong", async () => {
    const server = await startLlamaServer({ args: ["-c", "4096"] });
    onTestFinished(() => server.stop());
    const way = await wayOf({ AI_SERVER_URL: server.url }, { sizes: SIZES });
    expect(problems(way)).toEqual([]);
    expect(way.found["body-size"]?.seen).toBe("a request of 8 MiB passes");
    expect(way.found.idle?.seen).toMatch(/^the server closes one after \d+ s without a request/);
  });

  test("a llama-server that sleeps sleeps on", async () => {
    const server = await startLlamaServer({ args: ["-c", "4096", "--sleep-idle-seconds", "1"] });
    onTestFinished(() => server.stop());
    const env = { AI_SERVER_URL: server.url };
    await isAnswering(env);
    const client = await kept(new ModelServer(clientOf(server.url, "/nowhere")));
    const isAsleep = async () => (await client.runningNow())?.[0]?.isAsleep;
    await expect.poll(isAsleep).toBe(true);
    const way = await wayOf(env);
    expect(way.found["body-size"]?.seen).toBe("the model sleeps, and one would wake it");
    expect(await isAsleep()).toBe(true);
  });

  test("a router has nothing wrong, and loads nothing", async () => {
    const preset = `version = 1\n[a]\nmodel = ${TINY_MODEL}\n`;
    const server = await startRouter({ preset, args: [] });
    onTestFinished(() => server.stop());
    const way = await wayOf({ AI_SERVER_URL: server.url }, { sizes: SIZES });
    expect(problems(way)).toEqual([]);
    expect(way.found["body-size"]?.seen).toBe("a request of 8 MiB passes");
    const client = await kept(new ModelServer(clientOf(server.url, "/nowhere")));
    expect(await client.runningNow()).toEqual([]);
  });
});
