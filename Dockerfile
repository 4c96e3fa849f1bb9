# One image for every process of Quantum Trader; which one it is says the command.
#   docker build -t quantum-trader .
FROM python:3.11.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY locks/base.lock /build/base.lock
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-deps --require-hashes --only-binary :all: -r /build/base.lock

FROM python:3.11.13-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QUANTUM_DATA=/data \
    QUANTUM_HEALTH_HOST=0.0.0.0
RUN groupadd --gid 10001 quantum \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data quantum \
    && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /opt/venv /opt/venv
COPY commands/ /app/commands/
COPY streams/ /app/streams/
COPY projections/ /app/projections/
COPY migrations/ /app/migrations/
COPY replay/ /app/replay/
COPY gateways/ /app/gateways/
COPY runtime/ /app/runtime/
COPY domain/ /app/domain/
COPY schemas/ /app/schemas/
COPY data/ /app/data/
RUN python -m compileall -q /app
WORKDIR /data
USER 10001:10001
VOLUME /data
ENTRYPOINT ["python", "-P", "-m"]
CMD ["commands", "--help"]
