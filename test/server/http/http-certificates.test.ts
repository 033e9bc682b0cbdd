import { chmodSync, copyFileSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { readText } from "../../../server/http/http.ts";
import { issue, makeAuthority, writePemFiles } from "../../../sim/certificates.ts";
import { faultOf, httpFor, httpsServer, kept, pair, type WireServer } from "../../support/wire.ts";

let folder = "";
let serial = 0;
let renew: () => Promise<void>;

beforeEach(async () => {
  const dir = mkdtempSync(join(tmpdir(), "http-certificates-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  folder = dir;
  const authority = await makeAuthority("Test CA");
  const server = await issue(authority, { commonName: "server", names: ["127.0.0.1"], usage: "server" });
  writePemFiles(dir, {
    "root-ca.pem": authority.cert,
    "server.pem": server.cert,
    "server-key.pem": server.key,
  });
  renew = async () => {
    const client = await issue(authority, { commonName: `client ${++serial}`, usage: "client" });
    writePemFiles(dir, { "client.pem": client.cert, "client-key.pem": client.key });
  };
  serial = 0;
  await renew();
});

interface Seen extends WireServer {
  /** The common name of the client certificate of each request. */
  names: unknown[];
  /** Answers to `/stream`, which the test ends. */
  streams: ServerResponse[];
}

async function server(): Promise<Seen> {
  const names: unknown[] = [];
  const streams: ServerResponse[] = [];
  const opened = await kept(
    httpsServer({ ...pair(folder), requestCert: true }, (request, response) => {
      names.push((request.socket as TLSSocket).getPeerCertificate().subject.CN);
      if (request.url === "/stream") {
        response.write("first ");
        streams.push(response);
      } else {
        response.end("{}");
      }
    }),
  );
  return { ...opened, names, streams };
}

const LIMIT = { timeoutMs: 10_000 };

test("the next request uses new files, while a stream continues with the old ones", async () => {
  const seen = await server();
  const http = await httpFor(seen, folder);
  const { body } = await http.request({ method: "GET", path: "/stream" });
  await renew();
  await http.json("/x", LIMIT);
  await http.json("/x", LIMIT);
  seen.streams[0]?.end("last");
  expect(await readText(body, 100)).toBe("first last");
  expect(seen.names).toEqual(["client 1", "client 2", "client 2"]);
  expect(seen.handshakes).toMatchObject({ total: 2, resumed: 0 });
});

test("files that stayed the same are not a reason for a new connection", async () => {
  const seen = await server();
  const http = await httpFor(seen, folder);
  const before = await http.identity();
  await http.json("/x", LIMIT);
  await http.json("/x", LIMIT);
  expect(await http.identity()).toBe(before);
  expect(seen.handshakes.total).toBe(1);
});

test("a file that was missing is noticed as soon as it is there", async () => {
  const seen = await server();
  const http = await httpFor(seen, folder);
  const file = join(folder, "client-key.pem");
  renameSync(file, `${file}.away`);
  expect((await faultOf(http.json("/x", LIMIT))).message).toContain("The client key is missing");
  expect((await faultOf(http.identity())).message).toContain("The client key is missing");
  renameSync(`${file}.away`, file);
  expect(await http.json("/x", LIMIT)).toEqual({});
});

test("a fault that appears while a connection is open is reported, and mended without a restart", async () => {
  const seen = await server();
  const http = await httpFor(seen, folder);
  await http.json("/x", LIMIT);
  copyFileSync(join(folder, "client-key.pem"), join(folder, "kept.pem"));
  copyFileSync(join(folder, "server-key.pem"), join(folder, "client-key.pem"));
  expect((await faultOf(http.json("/x", LIMIT))).message).toContain(
    "does not belong to the client certificate",
  );
  copyFileSync(join(folder, "kept.pem"), join(folder, "client-key.pem"));
  expect(await http.json("/x", LIMIT)).toEqual({});
});

test("rights that were mended are noticed, though they leave size and time of the file as they were", async () => {
  const { geteuid, seteuid } = process;
  const asUser = async <T>(body: () => Promise<T>): Promise<T> => {
    const isRoot = geteuid?.() === 0;
    if (isRoot) seteuid?.(65_534);
    return body().finally(() => isRoot && seteuid?.(0));
  };
  const seen = await server();
  const http = await httpFor(seen, folder);
  chmodSync(folder, 0o755);
  chmodSync(join(folder, "client-key.pem"), 0o000);
  expect((await faultOf(asUser(() => http.identity()))).message).toContain("(EACCES)");
  chmodSync(join(folder, "client-key.pem"), 0o644);
  expect((await asUser(() => http.identity()))?.warnings).toHaveLength(1);
});

test("many requests at once read the files once", async () => {
  const seen = await server();
  const http = await httpFor(seen, folder);
  const identities = await Promise.all(Array.from({ length: 20 }, () => http.identity()));
  expect(new Set(identities).size).toBe(1);
});
