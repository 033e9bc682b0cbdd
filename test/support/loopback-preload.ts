// For `node --import`: the pi processes that the tests start are held to this machine as well.
import { installLoopbackGuard } from "./loopback-only.ts";

installLoopbackGuard();
