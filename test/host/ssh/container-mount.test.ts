import { expect, test } from "vitest";
import { isMountedAlone } from "../../../host/ssh/machine.ts";

const IMAGE = "ghcr.io/mostlygeek/llama-swap:vulkan";
const FLAGS = "-config /app/config.yaml -watch-config";
const FILE = "/home/user/.config/llama-swap/config.yaml";

test.each([
  [
    "docker run with -v",
    `/usr/bin/docker run --rm -p 8080:8080 -v ${FILE}:/app/config.yaml ${IMAGE} ${FLAGS}`,
  ],
  ["read only", `docker run -v ${FILE}:/app/config.yaml:ro,Z ${IMAGE} ${FLAGS}`],
  ["--volume", `docker run --volume ${FILE}:/app/config.yaml ${IMAGE} ${FLAGS}`],
  ["--volume=", `docker run --volume=${FILE}:/app/config.yaml ${IMAGE} ${FLAGS}`],
  [
    "podman of a quadlet",
    `/usr/bin/podman run --name=swap --replace -v=${FILE}:/app/config.yaml:Z ${IMAGE} ${FLAGS}`,
  ],
  ["-v with its value in one word", `docker run -v${FILE}:/app/config.yaml ${IMAGE} ${FLAGS}`],
  ["behind other short flags", `docker run -itv ${FILE}:/app/config.yaml ${IMAGE} ${FLAGS}`],
  ["--mount", `docker run --mount type=bind,source=${FILE},target=/app/config.yaml ${IMAGE} ${FLAGS}`],
  [
    "--mount=, in another order",
    `podman run --mount=dst=/app/config.yaml,ro,src=${FILE},type=bind ${IMAGE} ${FLAGS}`,
  ],
  ["the image's own place", `docker run -v ${FILE}:/app/config.yaml ${IMAGE} -watch-config`],
  [
    "another place, behind =",
    `docker run -v ${FILE}:/etc/swap.yaml ${IMAGE} --config=/etc/swap.yaml -watch-config`,
  ],
  [
    "a relative place",
    `docker run -w /app -v ${FILE}:/app/config.yaml ${IMAGE} -config config.yaml -watch-config`,
  ],
  [
    "over sudo, with docker's own --config",
    `sudo -n docker --config /x run -v ${FILE}:/app/config.yaml ${IMAGE} ${FLAGS}`,
  ],
  ["a folder beside it", `docker run -v /srv/app:/app -v ${FILE}:/app/config.yaml ${IMAGE} ${FLAGS}`],
])("a config mounted as one file: %s", (_, line) => {
  expect(isMountedAlone(line.split(" "))).toBe(true);
});

test.each([
  ["a mounted folder", `docker run -v /home/user/.config/llama-swap:/app ${IMAGE} ${FLAGS}`],
  ["a mounted folder, by --mount", `docker run --mount type=bind,src=/x,dst=/app/ ${IMAGE} ${FLAGS}`],
  ["a folder of configs", `docker run -v /x/conf.d:/conf.d ${IMAGE} -config-dir /conf.d -watch-config`],
  ["a volume of docker's", `docker run --mount source=swap,target=/app/config.yaml ${IMAGE} ${FLAGS}`],
  ["another file", `docker run -v /etc/localtime:/etc/localtime:ro -v /x:/app ${IMAGE} ${FLAGS}`],
  ["compose", "docker compose -f /srv/swap/compose.yaml up"],
  ["no container", `llama-swap -v ${FILE}:/app/config.yaml ${FLAGS}`],
])("no config mounted as one file: %s", (_, line) => {
  expect(isMountedAlone(line.split(" "))).toBe(false);
});
