import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { type Link, openLink, ownAddresses } from "../../devices/link.ts";
import { listens } from "../support/network.ts";

const CONTENT = Buffer.from(Array.from({ length: 5000 }, (_, at) => at % 256));

async function open(limitMs = 20_000, content = CONTENT): Promise<Link> {
  const link = await openLink("127.0.0.1", { name: "phone.p12", content }, limitMs);
  onTestFinished(() => link.close());
  return link;
}

interface Answer {
  status: number;
  headers: NodeJS.Dict<string | string[]>;
  body: Buffer;
}

function fetched(url: string, method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method, agent: false }, (response) => {
      const pieces: Buffer[] = [];
      response.on("data", (piece: Buffer) => pieces.push(piece));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces) }),
      );
    });
    request.on("error", reject);
    request.end();
  });
}

const portOf = (url: string): number => Number(new URL(url).port);

test("gives the file out once, as one that a browser saves, and closes its port", async () => {
  const link = await open();
  expect(link.url).toMatch(/^HTTP:\/\/127\.0\.0\.1:\d+\/[A-Z2-7]{16}$/);
  const { status, headers, body } = await fetched(link.url);
  expect([status, body.equals(CONTENT)]).toEqual([200, true]);
  expect(headers).toMatchObject({
    "content-type": "application/x-pkcs12",
    "content-length": "5000",
    "content-disposition": 'attachment; filename="phone.p12"',
    "cache-control": "no-store",
  });
  expect(await link.ended).toBe("fetched");
  expect(await listens(portOf(link.url))).toBe(false);
  await expect(fetched(link.url)).rejects.toThrow(/ECONNREFUSED/);
});

test("a phone that writes the path in small letters gets it too", async () => {
  const link = await open();
  expect((await fetched(link.url.toLowerCase())).status).toBe(200);
});

test("any other path or method gets nothing, and does not use the link up", async () => {
  const link = await open();
  const { origin, pathname } = new URL(link.url);
  for (const path of [
    "/",
    "/favicon.ico",
    pathname.slice(0, -1),
    `${pathname}A`,
    `${pathname}?x=1`,
    "/../etc/passwd",
  ]) {
    const { status, body } = await fetched(`${origin}${path}`);
    expect([path, status, body.length]).toEqual([path, 404, 0]);
  }
  for (const method of ["HEAD", "POST", "OPTIONS"])
    expect((await fetched(link.url, method)).status).toBe(404);
  expect((await fetched(link.url)).body.equals(CONTENT)).toBe(true);
});

test("a device that lost the connection half-way may ask again", async () => {
  const content = Buffer.alloc(30_000_000, 7);
  const link = await open(20_000, content);
  const { hostname, port, pathname } = new URL(link.url);
  await new Promise<void>((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port) }, () =>
      socket.write(`GET ${pathname} HTTP/1.1\r\nHost: x\r\n\r\n`),
    );
    socket.once("data", () => socket.destroy());
    socket.once("error", reject);
    socket.once("close", () => resolve());
  });
  await expect.poll(async () => (await fetched(link.url)).body.length).toBe(content.length);
  expect(await link.ended).toBe("fetched");
});

test("while one fetches it, another gets nothing", async () => {
  const content = Buffer.alloc(30_000_000, 7);
  const link = await open(20_000, content);
  const { hostname, port, pathname } = new URL(link.url);
  const socket = connect({ host: hostname, port: Number(port) });
  onTestFinished(() => void socket.destroy());
  socket.write(`GET ${pathname} HTTP/1.1\r\nHost: x\r\n\r\n`);
  // It has begun, and is not read on.
  await new Promise((resolve) => socket.once("readable", resolve));
  expect((await fetched(link.url)).status).toBe(404);
});

test("ends when its time is over, and when it is closed, with what is connected", async () => {
  const late = await open(50);
  const idle = connect({ host: "127.0.0.1", port: portOf(late.url) });
  idle.on("error", () => {});
  const gone = new Promise((resolve) => idle.once("close", resolve));
  expect(await late.ended).toBe("expired");
  await gone;
  expect(await listens(portOf(late.url))).toBe(false);
  const closed = await open();
  await closed.close();
  await closed.close();
  expect(await closed.ended).toBe("closed");
  expect(await listens(portOf(closed.url))).toBe(false);
});

test("every link is another", async () => {
  const links = await Promise.all(Array.from({ length: 20 }, () => open()));
  expect(new Set(links.map(({ url }) => new URL(url).pathname)).size).toBe(20);
});

test("an address that is not this machine's is named in a sentence", async () => {
  await expect(openLink("192.0.2.1", { name: "x", content: CONTENT }, 1000)).rejects.toThrow(
    /cannot offer a link on 192\.0\.2\.1.*Choose another address, or a file\./,
  );
});

test("offers the addresses that a phone reaches first, and none of this machine's own", () => {
  const info = (address: string, family: "IPv4" | "IPv6", internal = false) => ({
    address,
    family,
    internal,
    netmask: "",
    mac: "",
    cidr: null,
    ...(family === "IPv6" ? { scopeid: 0 } : {}),
  });
  const interfaces = {
    lo: [info("127.0.0.1", "IPv4", true)],
    docker0: [info("172.17.0.1", "IPv4")],
    wlan0: [info("fe80::1", "IPv6"), info("2001:db8::5", "IPv6"), info("192.168.1.5", "IPv4")],
  };
  expect(ownAddresses(interfaces as never)).toEqual([
    { address: "192.168.1.5", at: "wlan0" },
    { address: "2001:db8::5", at: "wlan0" },
    { address: "172.17.0.1", at: "docker0" },
  ]);
});
