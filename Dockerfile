# The chat service (the default target), the mock upstream (`--target mock`) and the benchmark (`--target bench`).
# Build: docker build -t stopwatch-chat:0.1.0 .
FROM python:3.13-slim-bookworm AS packages
COPY requirements-service.lock /
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r /requirements-service.lock

FROM python:3.13-slim-bookworm AS base
COPY --from=packages /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
# PostgreSQL's initdb, which the benchmark runs, needs a name for its user.
RUN echo 'app:x:10001:10001::/tmp:/bin/sh' >> /etc/passwd
# A number: Kubernetes' runAsNonRoot cannot check a name.
USER 10001:10001
STOPSIGNAL SIGTERM

FROM base AS mock
COPY mock_llm mock_llm
ENV MOCK_HOST=0.0.0.0 MOCK_PORT=9000
EXPOSE 9000
# A socket, not an HTTP client: where the standard library is not compiled, each check would compile its modules.
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import os, socket; s = socket.create_connection(('127.0.0.1', int(os.environ['MOCK_PORT'])), 4); s.sendall(b'GET /__mock/health HTTP/1.0\\r\\n\\r\\n'); assert b' 200 ' in s.recv(64)"]
ENTRYPOINT ["python", "-m", "mock_llm", "serve"]

FROM python:3.13-slim-bookworm AS bench-packages
COPY requirements.lock /
RUN python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r /requirements.lock

FROM base AS bench
COPY --from=bench-packages /venv /venv
COPY backends backends
COPY server server
COPY mock_llm mock_llm
COPY bench bench
# The root file system may be read-only.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["python", "-m", "bench"]

FROM base AS service
COPY backends backends
COPY server server
# The service refuses to start on 0.0.0.0 without API_KEYS or OPEN_TO_NETWORK=true.
ENV HOST=0.0.0.0 PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, socket; s = socket.create_connection(('127.0.0.1', int(os.environ['PORT'])), 4); s.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n'); assert b' 200 ' in s.recv(64)"]
ENTRYPOINT ["python", "-m", "server"]
