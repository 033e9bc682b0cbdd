import { describe, expect, test } from "vitest";
import { unknownVariables } from "../../config/unknown-variables.ts";

describe("a variable that the extension does not read", () => {
  test.each([
    ["AI_SERVER_ULR", "AI_SERVER_ULR is set, but there is no such variable; did you mean AI_SERVER_URL?"],
    [
      "AI_SERVER_SSHHOST",
      "AI_SERVER_SSHHOST is set, but there is no such variable; did you mean AI_SERVER_SSH_HOST?",
    ],
    [
      "AI_SERVER_COFFEE",
      "AI_SERVER_COFFEE is set, but there is no such variable; docs/variables.md lists all.",
    ],
    [
      "AI_SERVER_\u001b[31mTEA\u0007\nPOT",
      "AI_SERVER_TEA POT is set, but there is no such variable; docs/variables.md lists all.",
    ],
  ])("%s is named", async (name, notice) => {
    expect(await unknownVariables({ [name]: "x", AI_SERVER_URL: "https://x", PATH: "" })).toEqual([notice]);
  });

  test("gives no notice where every variable is known, empty, or another program's", async () => {
    const env = {
      AI_SERVER_URL: "https://x",
      AI_SERVER_CERTS_DIR: "/c",
      AI_SERVER_ULR: "",
      MY_AI_SERVER_X: "y",
    };
    expect(await unknownVariables(env)).toEqual([]);
  });
});
