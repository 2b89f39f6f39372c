/** The types that openapi-typescript made of the API's schema, used as their user would: the same as generated.py.
 * `node generated.ts URL ARCHIVE`, beside schema.ts; nothing of ours is imported. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.ts";

const [url, archive] = process.argv.slice(2);
const api = createClient<paths>({ baseUrl: url });

const form = new FormData();
form.set("file", new Blob([await readFile(archive)]), "digits.zip");
form.set("purpose", "fine-tune");
const body = { file: "", purpose: "fine-tune" } as const; // a binary is a string to the generator
const { data: file } = await api.POST("/v1/files", { body, bodySerializer: () => form });
assert(file);

// @ts-expect-error: types that let a misspelt field pass would be of no use
const misspelt: components["schemas"]["CreateJob"] = { training_file: file.id, n_epoch: 3 };

const jobs = "/v1/fine_tuning/jobs";
const refused = await api.POST(jobs, { body: { training_file: file.id, n_epochs: 0 } });
assert.equal(refused.response.status, 422);
assert.equal(refused.error?.error.param, "n_epochs");

let { data: job } = await api.POST(jobs, { body: { training_file: file.id, n_epochs: 3 } });
assert(job);
const params = { path: { job_id: job.id } };
const deadline = Date.now() + 300_000;
while (job.status !== "succeeded" && job.status !== "failed" && Date.now() < deadline) {
  await sleep(1000);
  ({ data: job } = await api.GET(`${jobs}/{job_id}`, { params }));
  assert(job);
}
assert.equal(job.status, "succeeded", job.status_reason.message);
const { data: listed } = await api.GET(jobs);
assert(listed?.data.some((one) => one.id === params.path.job_id));
console.log(`the generated types trained ${job.fine_tuned_model}`);
