import { describe, expect, onTestFinished, test } from "vitest";
import { SIZES } from "../../../admin/doctor/way/passage.ts";
import { SITES, stand } from "../../conformance/sites.ts";
import { startPlace } from "../../support/command-place.ts";
import { allFindings } from "../../support/doctor-findings.ts";
import { startKind } from "../../support/kinds.ts";
import { isAnswering, problems, wayOf } from "../../support/way-place.ts";

describe.each(SITES)("$title", (site) => {
  test("has nothing wrong on the way, and loads nothing", async () => {
    const standing = await stand(site);
    await isAnswering(standing.env);
    const way = await wayOf(standing.env, { sizes: SIZES });
    expect(problems(way)).toEqual([]);
    expect(way.outOfReach).toBeUndefined();
    expect(way.found.answer?.seen).toMatch(/\(HTTP 200\)$/);
    expect(way.found["body-size"]).toMatchObject({ verdict: "ok", seen: "a request of 8 MiB passes" });
    expect(await standing.loads()).toBe(site.loadsAtStart);
  });
});

test("llama-swap: what is seen of each link", async () => {
  const place = await startPlace();
  const found = (await allFindings(place)).filter(({ group }) => group === "way");
  const seen = found.map(({ check, verdict, seen }) => `${check} ${verdict}: ${seen}`);
  expect(seen.map((line) => line.replaceAll(/\d+(?:\.\d)? m?s/g, "N ms"))).toEqual([
    "dns ok: not needed: 127.0.0.1 is an address",
    `tcp ok: port ${place.sim.port} accepts connections: 127.0.0.1 after N ms`,
    `tls ok: TLSv1.3 after N ms; the server's certificate fits its name and is signed by the CA in ${place.sim.certsDir}/root-ca.pem`,
    expect.stringMatching(/^server-certificate-expiry ok: it is valid until \d{4}-\d\d-\d\d$/),
    "http-version ok: HTTP/1.1 is used; the server offers HTTP/1.1",
    "client-certificate-demanded ok: a request without one is refused",
    "client-certificate ok: this laptop's is admitted",
    "answer ok: /v1/models after N ms (HTTP 200)",
    "clock ok: it agrees with the server's to the second",
    "stream ok: headers after N ms, the first event after N ms",
    "stream-comments unchecked: llama-swap sent none meanwhile",
    "body-size ok: a request of 8 MiB passes",
    "idle unchecked: a stream stayed open for N ms; a longer limit does not show within seconds: see Streaming and timeouts in docs/caddy.md",
  ]);
});

test("a llama-server that sleeps is not woken", async () => {
  const sim = await startKind("llama-server", { speed: 100 });
  onTestFinished(() => sim.close());
  await isAnswering(sim.env);
  sim.sleep("small");
  const before = sim.asked().length;
  const { found } = await wayOf(sim.env);
  const seen = "the model sleeps, and one would wake it";
  expect(found["body-size"]).toMatchObject({ verdict: "unchecked", seen });
  expect(
    sim
      .asked()
      .slice(before)
      .filter((one) => one.startsWith("POST")),
  ).toEqual([]);
});

test("a llama-server that loads is reached, and nothing is said of its requests", async () => {
  const sim = await startKind("llama-server", { speed: 0.001 });
  onTestFinished(() => sim.close());
  const way = await wayOf(sim.env);
  expect(problems(way)).toEqual([]);
  expect(way.found.answer?.seen).toMatch(/\(HTTP 503\)$/);
  expect(way.found["body-size"]?.verdict).toBe("unchecked");
});

test("plain HTTP to this machine needs no TLS, no certificate and no clock", async () => {
  const sim = await startKind("router", { tls: "none" });
  onTestFinished(() => sim.close());
  const way = await wayOf(sim.env);
  const unneeded = ["tls", "client-certificate-demanded", "client-certificate", "clock"] as const;
  const seen = `not needed: ${sim.url} is plain HTTP to this machine`;
  expect(unneeded.map((check) => way.found[check])).toMatchObject([
    { verdict: "ok", seen },
    { verdict: "ok", seen },
    { verdict: "ok", seen: "not needed: plain HTTP to this machine" },
    { verdict: "ok", seen: "the server is on this machine" },
  ]);
  expect(problems(way)).toEqual([]);
});
