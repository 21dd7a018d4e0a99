// What the tests ask of the second client: `node hub_client.mjs MODULES VERB HUB KIND REPO ...`.
//   read REVISION          one JSON object: the SHA-256 of each file of a revision
//   write TITLE FOLDER     create the repository and upload the files of a folder, by git-lfs
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, verb, hubUrl, type, name, first, folder] = process.argv.slice(2);
const hub = await import(pathToFileURL(join(modules, "@huggingface/hub/dist/index.mjs")));
const at = { repo: { type, name }, hubUrl, accessToken: process.env.HF_TOKEN };

if (verb === "read") {
	const found = {};
	for await (const entry of hub.listFiles({ ...at, revision: first, recursive: true })) {
		if (entry.type !== "file") continue;
		const blob = await hub.downloadFile({ ...at, revision: first, path: entry.path });
		const content = Buffer.from(await blob.arrayBuffer());
		found[entry.path] = createHash("sha256").update(content).digest("hex");
	}
	console.log(JSON.stringify(found));
} else {
	const paths = readdirSync(folder, { recursive: true }).map((path) => join(folder, path));
	const files = paths.filter((path) => statSync(path).isFile()).map((path) => ({
		path: relative(folder, path),
		content: new Blob([readFileSync(path)]),
	}));
	await hub.createRepo(at);
	await hub.uploadFiles({ ...at, files, commitTitle: first, useXet: false });
}
