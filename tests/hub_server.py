"""A hub on the loopback that speaks what the clients of the Hugging Face Hub ask of it.

Both ways for large objects: git-lfs over HTTP, in one piece or in parts, and Xet, whose client
(hf_xet 1.8.0) takes `local://FOLDER` for the address of a chunk store. That address is not
documented; where it stops working, the older way still tests everything but the chunks.

`with serve_hub() as server:` gives its `url`, its `hub` to look into, its `log` and its `faults`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.hub_faults import Fault, Faults
from tests.hub_faults import Request as LogEntry
from tests.hub_state import (
    DATE,
    Commit,
    File,
    Hub,
    Refused,
    Repository,
    check_card,
    is_large,
    plain,
    pointer,
)

WRITE_TOKEN = "hf_write"
READ_TOKEN = "hf_read"


class Server:
    """A running hub."""

    def __init__(self, url: str, hub: Hub, faults: Faults) -> None:
        self.url, self.hub, self._faults = url, hub, faults

    @property
    def log(self) -> list[LogEntry]:
        return self._faults.log

    @property
    def faults(self) -> list[Fault]:
        return self._faults.faults

    def watch(self, function: Any) -> None:
        """Call a function with each request before it is answered."""
        self._faults.watch = function

    def writes(self) -> list[LogEntry]:
        return [request for request in self.log if request.writes]

    def puts(self) -> list[LogEntry]:
        return [request for request in self.log if request.method == "PUT"]


@contextmanager
def serve_hub(hub: Hub | None = None) -> Iterator[Server]:
    """Run a hub (an empty one where none is given) on a port of its own while the block runs."""
    hub = hub or Hub()
    faults = Faults(make_app(hub))
    config = uvicorn.Config(
        faults, port=0, log_level="critical", proxy_headers=False, lifespan="off"
    )
    running = uvicorn.Server(config)
    listener = config.bind_socket()
    # Else each answer waits 40 ms: asyncio sets this only where the socket names its protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    thread = threading.Thread(target=running.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", hub, faults)
    finally:
        running.should_exit = running.force_exit = True
        thread.join(10)
        listener.close()


def make_app(hub: Hub) -> Starlette:
    """Return the hub's endpoints."""
    on = _Endpoints(hub)
    api, page = "/api/{kind}/{owner}/{name}", "/{owner}/{name}"
    routes = [
        Route("/api/repos/create", on.create, methods=["POST"]),
        Route("/api/validate-yaml", on.validate, methods=["POST"]),
        Route(api, on.info),
        Route(api + "/preupload/{revision}", on.preupload, methods=["POST"]),
        Route(api + "/commit/{revision}", on.commit, methods=["POST"]),
        Route(api + "/branch/{branch}", on.branch, methods=["POST", "DELETE"]),
        Route(api + "/tag/{revision}", on.tag, methods=["POST", "DELETE"]),
        Route(api + "/refs", on.refs),
        Route(api + "/commits/{revision}", on.commits),
        Route(api + "/revision/{revision}", on.info),
        Route(api + "/tree/{revision}", on.tree),
        Route(api + "/tree/{revision}/{path:path}", on.tree),
        Route(api + "/paths-info/{revision}", on.paths, methods=["POST"]),
        Route(api + "/xet-{way}-token/{revision}", on.xet_token),
        Route("/lfs/{sha256}", on.put, methods=["PUT"]),
        Route("/lfs/{sha256}/{end}", on.put_end, methods=["POST"]),
        Route("/cdn/{sha256}", on.object),
    ]
    for prefix in ("", "/datasets"):
        routes += [
            Route(prefix + page + ".git/info/lfs/objects/batch", on.batch, methods=["POST"]),
            Route(prefix + page + "/resolve/{revision}/{path:path}", on.resolve),
        ]
    return Starlette(routes=routes, exception_handlers={Refused: _refuse})


class _Endpoints:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.parts: dict[str, dict[int, bytes]] = {}

    def repository(self, request: Request, *, write: bool = False) -> Repository:
        at = request.path_params
        kind = at.get("kind") or (
            "datasets" if request.url.path.startswith("/datasets/") else "models"
        )
        self.check(request, write=write)
        repository = self.hub.find(kind, f"{at['owner']}/{at['name']}")
        if repository.private and not self.right(request):
            raise Refused(401, "Invalid username or password.", "RepoNotFound")
        return repository

    def right(self, request: Request) -> str | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens.get(token)

    def check(self, request: Request, *, write: bool) -> None:
        right = self.right(request)
        if write and right is None:
            raise Refused(401, "Invalid username or password.")
        if write and right != "write":
            raise Refused(403, "you must use a write token to write to this repository.")

    async def create(self, request: Request) -> Response:
        self.check(request, write=True)
        asked = await request.json()
        name = f"{asked.get('organization') or 'user'}/{asked['name']}"
        kind = asked.get("type", "model") + "s"
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        if (kind, name) in self.hub.repositories:
            page = f"{request.base_url}{'datasets/' if kind == 'datasets' else ''}{name}"
            error = {"error": "You already created this repo", "url": page}
            return JSONResponse(error, 409)
        self.hub.create(kind, name, private)
        page = f"{request.base_url}{'datasets/' if kind == 'datasets' else ''}{name}"
        return JSONResponse({"url": page, "name": name, "id": name})

    async def validate(self, request: Request) -> Response:
        errors = check_card((await request.json())["content"])
        status = 400 if errors else 200
        messages = [{"message": error} for error in errors]
        return JSONResponse({"errors": messages, "warnings": []}, status)

    async def info(self, request: Request) -> Response:
        repository = self.repository(request)
        commit = repository.find(request.path_params.get("revision", "main"))
        content = {
            "id": repository.name,
            "sha": commit.sha,
            "private": repository.private,
            "lastModified": DATE,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
        }
        return JSONResponse(content)

    async def preupload(self, request: Request) -> Response:
        files = self.repository(request, write=True).find(request.path_params["revision"]).files
        told = []
        for asked in (await request.json())["files"]:
            path, there = asked["path"], files.get(asked["path"])
            mode = "lfs" if is_large(path, asked["size"]) else "regular"
            oid = there and (there.sha256 if mode == "lfs" else there.oid)
            told.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return JSONResponse({"files": told})

    async def batch(self, request: Request) -> Response:
        self.repository(request, write=True)
        asked = (await request.json())["objects"]
        objects = [self._actions(request, one["oid"], one["size"]) for one in asked]
        transfer = "multipart" if self.hub.part_bytes else "basic"
        return JSONResponse({"transfer": transfer, "objects": objects})

    def _actions(self, request: Request, sha256: str, size: int) -> dict[str, Any]:
        if sha256 in self.hub.objects:
            return {"oid": sha256, "size": size}
        at, part_bytes = f"{request.base_url}lfs/{sha256}", self.hub.part_bytes
        upload: dict[str, Any] = {"href": at}
        if part_bytes:
            numbers = range(1, -(-size // part_bytes) + 1)
            header = {f"{number:05d}": f"{at}?part={number}" for number in numbers}
            upload = {"href": f"{at}/complete", "header": {"chunk_size": str(part_bytes), **header}}
        actions = {"upload": upload, "verify": {"href": f"{at}/verify"}}
        return {"oid": sha256, "size": size, "authenticated": True, "actions": actions}

    async def put(self, request: Request) -> Response:
        sha256, content = request.path_params["sha256"], await request.body()
        if part := request.query_params.get("part"):
            self.parts.setdefault(sha256, {})[int(part)] = content
            return Response(headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})
        self._keep(sha256, content)
        return Response()

    def _keep(self, sha256: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Refused(400, f"{sha256} is not the sha256 of what was sent")
        self.hub.objects[sha256] = content

    async def put_end(self, request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        asked = await request.json()
        if request.path_params["end"] == "complete":
            parts = self.parts.pop(sha256)
            self._keep(sha256, b"".join(parts[one["partNumber"]] for one in asked["parts"]))
        elif len(self.hub.objects.get(sha256, b"")) != asked["size"]:
            raise Refused(404, f"{sha256} was never uploaded")
        return JSONResponse({})

    async def commit(self, request: Request) -> Response:
        repository = self.repository(request, write=True)
        branch = request.path_params["revision"]
        if branch not in repository.branches:
            raise Refused(404, f"Invalid rev id: {branch}", "RevisionNotFound")
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        header = lines[0]["value"]
        files = dict(repository.find(branch).files)
        for line in lines[1:]:
            self._apply(files, line["key"], line["value"])
        commit = repository.commit(branch, header["summary"], header.get("parentCommit"), files)
        url = f"{request.base_url}{repository.name}/commit/{commit.sha}"
        return JSONResponse({"success": True, "commitOid": commit.sha, "commitUrl": url})

    def _apply(self, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            files[path] = plain(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            large = self.hub.large(value["oid"])
            known = [one for one in files.values() if one.sha256 == large.sha256]
            size = value.get("size") or large.num_bytes or self._size_of(value["oid"])
            files[path] = known[0] if known else _sized(large, size)
        elif key == "deletedFile":
            if path not in files:
                raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
            del files[path]
        else:
            raise Refused(400, f"{key} is not known here")

    def _size_of(self, sha256: str) -> int:
        every = (
            file
            for repository in self.hub.repositories.values()
            for commit in repository.commits.values()
            for file in commit.files.values()
        )
        return next(file.num_bytes for file in every if file.sha256 == sha256)

    async def branch(self, request: Request) -> Response:
        repository = self.repository(request, write=True)
        branch = request.path_params["branch"]
        if request.method == "DELETE":
            if branch not in repository.branches:
                raise Refused(404, f"no branch {branch}", "RevisionNotFound")
            if branch == "main":
                raise Refused(403, "main cannot be deleted")
            del repository.branches[branch]
            return JSONResponse({})
        if branch in repository.branches:
            raise Refused(409, f"Reference already exists: {branch}")
        start = (await request.json()).get("startingPoint") or "main"
        repository.branches[branch] = repository.find(start).sha
        return JSONResponse({})

    async def tag(self, request: Request) -> Response:
        repository = self.repository(request, write=True)
        if request.method == "DELETE":
            del repository.tags[request.path_params["revision"]]
            return JSONResponse({})
        tag = (await request.json())["tag"]
        commit = repository.find(request.path_params["revision"])
        if tag in repository.tags:
            raise Refused(409, f"Tag {tag} already exists")
        repository.tags[tag] = commit.sha
        return JSONResponse({})

    async def refs(self, request: Request) -> Response:
        repository = self.repository(request)

        def told(place: str, commits: dict[str, str]) -> list[dict[str, str]]:
            return [
                {"name": name, "ref": f"refs/{place}/{name}", "targetCommit": sha}
                for name, sha in sorted(commits.items())
            ]

        branches, tags = told("heads", repository.branches), told("tags", repository.tags)
        return JSONResponse({"branches": branches, "tags": tags, "converts": []})

    async def commits(self, request: Request) -> Response:
        history = self.repository(request).history(request.path_params["revision"])
        return JSONResponse(
            [
                {"id": one.sha, "title": one.title, "message": "", "date": DATE, "authors": []}
                for one in history
            ]
        )

    async def tree(self, request: Request) -> Response:
        at, asked = request.path_params, request.query_params
        files = self.repository(request).find(at["revision"]).files
        prefix = at["path"] + "/" if at.get("path") else ""
        entries = _list_tree(files, prefix, recursive=asked.get("recursive", "").lower() == "true")
        if prefix and not entries:
            raise Refused(404, f"{prefix} does not exist", "EntryNotFound")
        start = int(asked.get("cursor", 0))
        end = start + self.hub.page_files
        headers = {}
        if end < len(entries):
            following = request.url.include_query_params(cursor=end)
            headers["Link"] = f'<{following}>; rel="next"'
        return JSONResponse(entries[start:end], headers=headers)

    async def paths(self, request: Request) -> Response:
        files = self.repository(request).find(request.path_params["revision"]).files
        if request.headers["content-type"].startswith("application/json"):
            asked = (await request.json())["paths"]
        else:
            asked = [str(path) for path in (await request.form()).getlist("paths")]
        return JSONResponse([_entry(path, files[path]) for path in asked if path in files])

    async def resolve(self, request: Request) -> Response:
        commit = self.repository(request).find(request.path_params["revision"])
        headers = {"X-Repo-Commit": commit.sha}
        path = request.path_params["path"]
        if path not in commit.files:
            message = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}
            return Response(status_code=404, headers={**headers, **message})
        file = commit.files[path]
        if file.content is not None:
            return _ranged(request, file.content, {**headers, "ETag": f'"{file.oid}"'})
        return self._redirect(request, commit, file, headers)

    def _redirect(
        self, request: Request, commit: Commit, file: File, headers: dict[str, str]
    ) -> Response:
        tag = f'"{file.sha256}"'
        headers |= {"ETag": tag, "X-Linked-ETag": tag, "X-Linked-Size": str(file.num_bytes)}
        if file.xet_hash:
            at = request.path_params
            repository = f"api/datasets/{at['owner']}/{at['name']}"
            if not request.url.path.startswith("/datasets/"):
                repository = repository.replace("datasets", "models")
            route = f"{request.base_url}{repository}/xet-read-token/{commit.sha}"
            headers |= {"X-Xet-Hash": file.xet_hash, "Link": f'<{route}>; rel="xet-auth"'}
        # Another origin, as the real one: clients read the headers of this answer, not of the next.
        elsewhere = request.base_url.replace(hostname="localhost")
        return RedirectResponse(f"{elsewhere}cdn/{file.sha256}", 302, headers)

    async def object(self, request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        return _ranged(request, self.hub.objects[sha256], {"ETag": f'"{sha256}"'})

    async def xet_token(self, request: Request) -> Response:
        way = request.path_params["way"]
        self.repository(request, write=way == "write")
        url, token, expires = f"local://{self.hub.xet_folder}", "xet", 4_000_000_000
        headers = {
            "X-Xet-Cas-Url": url,
            "X-Xet-Access-Token": token,
            "X-Xet-Token-Expiration": str(expires),
        }
        content = {"casUrl": url, "accessToken": token, "exp": expires}
        return JSONResponse(content, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    headers = {"X-Error-Message": error.message}
    if error.code:
        headers["X-Error-Code"] = error.code
    return JSONResponse({"error": error.message}, error.status, headers)


def _list_tree(files: Any, prefix: str, *, recursive: bool) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for path, file in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts)) if recursive else ([1] if len(parts) > 1 else []):
            folder = prefix + "/".join(parts[:depth])
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries[folder] = {"type": "directory", "path": folder, "oid": oid, "size": 0}
        if recursive or len(parts) == 1:
            entries[path] = _entry(path, file)
    return list(entries.values())


def _entry(path: str, file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": "file",
        "path": path,
        "oid": file.oid,
        "size": file.num_bytes,
    }
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.num_bytes, "pointerSize": 134}
    if file.xet_hash:
        entry["xetHash"] = file.xet_hash
    return entry


def _sized(file: File, num_bytes: int) -> File:
    assert file.sha256
    return pointer(file.sha256, num_bytes, file.xet_hash)


def _ranged(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    """Answer with the bytes that were asked for, or all."""
    asked = request.headers.get("range")
    if not asked:
        return Response(content, headers=headers, media_type="application/octet-stream")
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, end = int(first), min(int(last or len(content)), len(content) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Response(content[start : end + 1], 206, headers, media_type="application/octet-stream")
