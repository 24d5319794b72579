"""Abort flags in NATS: a JetStream key-value bucket for the records, and one core subject per worker for messages.

NATS has no scripts: a change reads the record, decides, and writes only if the record's revision is unchanged;
otherwise it starts again. The message to the owner is sent after the write. An abort that is recorded already sends it
again, because the connection may have been lost in between.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import ClassVar, NamedTuple, Self, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import Header, KeyValueConfig, StorageType
from nats.js.errors import APIError, KeyNotFoundError, NoStreamResponseError, ServiceUnavailableError
from nats.js.kv import KeyValue

from backends.base import (
    HEARTBEAT,
    SEEK,
    AbortOutcome,
    Chat,
    ChatKey,
    FlagResult,
    MessageHandler,
    Options,
    State,
    Store,
    WaitForLoss,
)
from backends.errors import BackendUrlError, DuplicateChatError, StoreRefusedError, StoreUnavailableError
from backends.refusals import RefusalLog, check_rights
from backends.store_url import StoreUrl

Answer = TypeVar("Answer")
_BEATEN = (10071, 10164)  # error codes: another write came first
_LONG_S = 1e6  # nats-py's own pings are off: a listener is pinged only after a silence
_MARKER_S = 1.0  # lifetime of what the server leaves in place of an expired record
_ABORTED = (State.ABORTED, State.REPEATED)
_LIVE = (State.LIVE, State.ABORTED)
_OPTIONS = ("replicas", "storage", "tls")


class _Record(NamedTuple):
    state: State
    generation: str
    worker: str
    owner: str

    def aborts(self, chat: Chat) -> bool:
        """Whether this record aborts the chat."""
        if self.generation == chat.generation:
            return self.state in _ABORTED
        return self.state is State.EARLY and self.owner == chat.owner


class _Found(NamedTuple):
    record: _Record | None
    revision: int


_NEW = _Found(None, 0)
Decision = tuple[Answer, _Record | None, float]
"""What a change answers, the record to write (None: nothing), and its lifetime in seconds."""


class NatsStore(Store):
    """All commands share one connection, a listener has another. Lifetimes are rounded up to whole seconds."""

    name: ClassVar[str] = "nats"
    deaf_hint: ClassVar[str] = "check the subscribe and publish permissions of this NATS user for <namespace>.abort.>"

    def __init__(self, url: str, options: Options, *, notify: bool) -> None:
        super().__init__(options, notify=notify)
        self._url = StoreUrl.parse(url)
        self._bucket_config = _bucket(self._url, options.namespace)
        self._link: tuple[Client, KeyValue] | None = None
        self._dialing = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._written: dict[str, _Found] = {}  # by key: what this worker wrote last for its live chats
        self._heartbeats: dict[str, int] = {}  # revision of each worker's last one
        self._refusals = RefusalLog()

    async def __aenter__(self) -> Self:
        try:
            if self.notify:
                async with self.listen("probe", lambda _: None):
                    pass
            await check_rights(self)
        except BaseException:
            await self._close()
            raise
        self._refusals.started = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._drop()
        if self._closing:
            await asyncio.wait(self._closing)

    async def register(self, chat: Chat) -> bool:
        def decide(found: _Record | None) -> Decision[bool | None]:
            if found and found.state in _LIVE and found.generation != chat.generation:
                return None, None, 0
            aborted = found is not None and found.aborts(chat)
            return aborted, _record(State.ABORTED if aborted else State.LIVE, chat), self.options.ttl_s

        aborted = await self._change(chat.request_id, decide, _NEW, own=True)
        if aborted is None:
            raise DuplicateChatError(chat.request_id)
        return aborted

    async def flag(self, request_id: str, owner: str, *, remember: bool) -> FlagResult:
        unknown = FlagResult(AbortOutcome.REMEMBERED if remember else AbortOutcome.UNKNOWN)

        def decide(found: _Record | None) -> Decision[FlagResult]:
            if found is None or (found.state is State.EARLY and found.owner == owner):
                early = _Record(State.EARLY, "-", "-", owner) if remember else None
                return unknown if found is None else FlagResult(AbortOutcome.REMEMBERED), early, self.options.remember_s
            if found.owner != owner:
                return unknown, None, 0
            if found.state is State.ENDED:
                return FlagResult(AbortOutcome.UNKNOWN), None, 0
            chat = Chat(request_id, found.generation, owner, found.worker)
            if found.state in _ABORTED:
                return FlagResult(AbortOutcome.ALREADY_ABORTED, chat), None, 0
            return FlagResult(AbortOutcome.ACCEPTED, chat), found._replace(state=State.ABORTED), self.options.ttl_s

        result = await self._change(request_id, decide)
        if result.chat is not None:
            await self._send(result.chat.worker, result.chat.key)
        return result

    async def states(self, chats: Collection[Chat]) -> list[State | None]:
        """One read per chat, all in flight at once: NATS has no read of several keys."""

        async def state(chat: Chat) -> State | None:
            record = (await self._read(_key(chat.request_id))).record
            return record.state if record and record.generation == chat.generation else None

        with self._translated():
            async with asyncio.timeout(self.options.command_timeout_s):
                return list(await asyncio.gather(*map(state, chats)))

    async def renew(self, chats: Collection[Chat]) -> set[ChatKey]:
        async def must_end(chat: Chat) -> bool:
            def decide(found: _Record | None) -> Decision[bool]:
                own = found is not None and found.generation == chat.generation
                if found and found.state in ((State.ENDED,) if own else _LIVE):
                    return not own, None, 0
                aborted = found is not None and found.aborts(chat)
                return aborted, _record(State.ABORTED if aborted else State.LIVE, chat), self.options.ttl_s

            return await self._change(chat.request_id, decide, self._written.get(_key(chat.request_id)), own=True)

        ends = await asyncio.gather(*map(must_end, chats))
        return {chat.key for chat, end in zip(chats, ends, strict=True) if end}

    async def reassert(self, chats: Collection[Chat]) -> set[ChatKey]:
        async def reassert_one(chat: Chat) -> bool:
            def decide(found: _Record | None) -> Decision[bool]:
                if found is None:
                    return True, _record(State.REPEATED, chat), self.options.remember_s
                if found.generation != chat.generation or found.state is State.ENDED:
                    return False, None, 0
                new = found._replace(state=State.ABORTED) if found.state is State.LIVE else None
                return True, new, self.options.ttl_s

            done = await self._change(chat.request_id, decide)
            if done:
                await self._send(chat.worker, chat.key)
            return done

        done = await asyncio.gather(*map(reassert_one, chats))
        return {chat.key for chat, each in zip(chats, done, strict=True) if each}

    async def release(self, chat: Chat) -> bool:
        def decide(found: _Record | None) -> Decision[bool]:
            if found is None or found.generation != chat.generation:
                return False, None, 0
            return found.state in _ABORTED, found._replace(state=State.ENDED), self.options.remember_s

        return await self._change(chat.request_id, decide, self._written.pop(_key(chat.request_id), None))

    async def heartbeat(self, worker: str, number: int) -> bool:
        key, ttl_s = f"beat.{worker}", self.options.heartbeat_ttl_s
        with self._translated():
            async with asyncio.timeout(self.options.command_timeout_s):
                revision = await self._write(key, b"1", ttl_s, self._heartbeats.get(worker, 0))
                held = revision is not None and worker in self._heartbeats
                self._heartbeats[worker] = revision or await self._write(key, b"1", ttl_s) or 0
        await self._send(worker, ChatKey(str(number), HEARTBEAT))
        return held

    async def seek(self, worker: str, request_id: str) -> bool:
        with self._translated():
            async with asyncio.timeout(self.options.command_timeout_s):
                _, bucket = await self._connected()
                try:
                    held = bool((await bucket.get(f"beat.{worker}")).value)
                except KeyNotFoundError:
                    held = False
        await self._send("all", ChatKey(request_id, SEEK))
        return held

    @asynccontextmanager
    async def listen(self, worker: str, on_message: MessageHandler) -> AsyncIterator[WaitForLoss]:
        reply_s = self.options.keepalive_s - self.options.silence_s
        lost = asyncio.Event()
        received_s = monotonic()

        async def receive(message: Msg) -> None:
            nonlocal received_s
            received_s = monotonic()
            on_message(ChatKey.of(message.data.decode(errors="replace")))

        async def set_lost() -> None:
            lost.set()

        async def until_lost() -> None:
            nonlocal received_s
            while not lost.is_set():
                left_s = received_s + self.options.silence_s - monotonic()
                if left_s > 0:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(lost.wait(), left_s)
                    continue
                with self._translated(drop=False):
                    await asyncio.wait_for(client.flush(), reply_s)
                received_s = monotonic()
            raise StoreUnavailableError(f"NATS at {self._url.address}: the listener's connection was lost")

        with self._translated(drop=False):
            async with asyncio.timeout(self.options.command_timeout_s):
                client = await self._dial("listener", disconnected_cb=set_lost, closed_cb=set_lost)
                for name in (worker, "all"):
                    await client.subscribe(self._subject(name), cb=receive)
                await client.flush()  # the server has both subscriptions when it answers
        try:
            yield until_lost
        finally:
            self._close_later(client)

    async def _change(
        self,
        request_id: str,
        decide: Callable[[_Record | None], Decision[Answer]],
        guess: _Found | None = None,
        *,
        own: bool = False,
    ) -> Answer:
        """Read the record, decide, and write; again if another process wrote in between.

        With a `guess` the first read is saved: the write fails if the record is another one. `own`: it is a live chat
        of this worker, whose record is kept as the next guess.
        """
        key = _key(request_id)
        with self._translated():
            async with asyncio.timeout(self.options.command_timeout_s):
                while True:
                    guessed, found, guess = guess is not None, guess or await self._read(key), None
                    answer, new, lifetime_s = decide(found.record)
                    if new is None:
                        if guessed:  # nothing is written that would prove the guess
                            continue
                        return answer
                    revision = await self._write(key, " ".join(new).encode(), lifetime_s, found.revision)
                    if revision is not None:
                        if own:
                            self._written[key] = _Found(new, revision)
                        return answer

    async def _read(self, key: str) -> _Found:
        """The record; a marker in place of an expired record has a revision and no value."""
        _, bucket = await self._connected()
        try:
            entry = await bucket.get(key)
        except KeyNotFoundError as error:
            return _Found(None, (error.entry.revision or 0) if error.entry else 0)
        if not entry.value:
            return _Found(None, entry.revision or 0)
        state, *rest = entry.value.decode().split(" ", 3)
        return _Found(_Record(State(state), *rest), entry.revision or 0)

    async def _write(self, key: str, value: bytes, lifetime_s: float, revision: int | None = None) -> int | None:
        """Write with a lifetime, if the key has this revision (None: in any case); its new one, None if it had not."""
        client, _ = await self._connected()
        headers = {} if revision is None else {Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)}
        subject, ttl_s = f"$KV.{self.options.namespace}.{key}", max(1, math.ceil(lifetime_s))
        try:
            written = await client.jetstream().publish(
                subject, value, self.options.command_timeout_s, headers=headers, msg_ttl=ttl_s
            )
        except APIError as error:
            if error.err_code in _BEATEN:
                return None
            raise
        return written.seq

    async def _send(self, worker: str, key: ChatKey) -> None:
        """Send the message to this worker's listener."""
        if self.notify:
            with self._translated():
                client, _ = await self._connected()
                await client.publish(self._subject(worker), f"{key.generation} {key.request_id}".encode())

    def _subject(self, worker: str) -> str:
        return f"{self.options.namespace}.abort.{worker}"

    async def _connected(self) -> tuple[Client, KeyValue]:
        """The connection for commands, and the bucket, which is created if it is absent; a lost one is replaced."""
        async with asyncio.timeout(self.options.command_timeout_s), self._dialing:
            if self._link is None or not self._link[0].is_connected:
                self._drop()
                client = await self._dial("commands")
                try:
                    context = client.jetstream(timeout=self.options.command_timeout_s)
                    self._link = client, await context.create_key_value(self._bucket_config)
                except BaseException:
                    self._close_later(client)
                    raise
            return self._link

    async def _dial(self, role: str, **callbacks: object) -> Client:
        """Connect to the first server that answers. nats-py's reconnecting would hide lost messages."""
        failed: Exception | None = None
        for host in self._url.hosts.split(","):
            client = Client()
            try:
                await client.connect(
                    f"nats://{host}", name=f"{self.options.namespace}-{role}", allow_reconnect=False,
                    connect_timeout=self.options.command_timeout_s,  # type: ignore[arg-type]
                    ping_interval=_LONG_S, error_cb=_ignore,  # type: ignore[arg-type]
                    user=self._url.user or None, password=self._url.password or None,
                    tls=ssl.create_default_context() if self._url.options.get("tls") == "true" else None,
                    **callbacks,  # type: ignore[arg-type]
                )  # fmt: skip
            except (NatsError, OSError, TimeoutError) as error:
                failed = error
                self._close_later(client)
            except BaseException:
                self._close_later(client)
                raise
            else:
                return client
        raise failed or StoreUnavailableError("no server is named")

    def _drop(self) -> None:
        """Give the connection for commands up: the next command opens another one."""
        if self._link is not None:
            self._close_later(self._link[0])
        self._link = None

    def _close_later(self, client: Client) -> None:
        """Close without waiting for a server that may not answer."""

        async def close() -> None:
            with suppress(Exception):
                await asyncio.wait_for(client.close(), 1.0)

        task = asyncio.get_running_loop().create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    @contextmanager
    def _translated(self, *, drop: bool = True) -> Iterator[None]:
        """Turn the driver's errors into ours; after one, the connection for commands is given up."""
        try:
            yield
        except (NatsError, OSError, TimeoutError) as error:
            if drop:
                self._drop()
            refused = isinstance(error, APIError | NoStreamResponseError) or "ermission" in str(error)
            text = " ".join(str(error).split()) or type(error).__name__
            if isinstance(error, ServiceUnavailableError | NoStreamResponseError):
                text += "; JetStream must be on (nats-server --jetstream), and the account may use it"
            translated = (StoreRefusedError if refused else StoreUnavailableError)(
                f"NATS at {self._url.address}: {text}"
            )
            if refused:
                self._refusals.warn(str(translated))
            raise translated from error


async def _ignore(_error: Exception) -> None:
    """nats-py would log every error with its traceback; commands raise theirs, and the listener reports its loss."""


def _bucket(url: StoreUrl, namespace: str) -> KeyValueConfig:
    """The bucket that the URL asks for. Raises `BackendUrlError`."""
    replicas, storage = url.options.get("replicas", "1"), url.options.get("storage", "memory")
    unknown = [name for name in url.options if name not in _OPTIONS]
    if unknown or replicas not in ("1", "3", "5") or storage not in ("memory", "file") or url.path:
        raise BackendUrlError(
            "the NATS URL has the form nats://user:password@host:port,host:port?replicas=1|3|5&storage=memory|file&tls=true"
        )
    return KeyValueConfig(
        bucket=namespace,
        history=1,
        replicas=int(replicas),
        storage=StorageType.FILE if storage == "file" else StorageType.MEMORY,
        limit_marker_ttl=_MARKER_S,
    )


def _record(state: State, chat: Chat) -> _Record:
    return _Record(state, chat.generation, chat.worker, chat.owner)


def _key(request_id: str) -> str:
    """Keys may not contain every character of an id."""
    return f"chat.{request_id.encode().hex()}"
