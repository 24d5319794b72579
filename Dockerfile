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
# A number: Kubernetes' runAsNonRoot cannot check a name.
USER 10001:10001
STOPSIGNAL SIGTERM

FROM base AS mock
COPY mock_llm mock_llm
ENV MOCK_HOST=0.0.0.0 MOCK_PORT=9000
EXPOSE 9000
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9000/__mock/health', timeout=2)"]
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
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
ENTRYPOINT ["python", "-m", "server"]
