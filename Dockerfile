# One image for training and for serving. It holds no MovieLens data, whose licence forbids to pass it on: see nbs/howto/deploy.ipynb.
# With --target free, an image that holds a model of the films of Wikidata, which anybody may pass on: it shows something at once.

FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/movierec
ENV PATH=/opt/movierec/bin:$PATH
COPY settings.ini setup.py pyproject.toml constraints.txt README.md MANIFEST.in LICENSE config.yaml ./
COPY movierec movierec
RUN pip install --no-cache-dir --constraint constraints.txt '.[serve]'

FROM build AS free-model
WORKDIR /opt/free
RUN cp /build/config.yaml . \
    && movierec fetch --data wikidata \
    && movierec train --data wikidata

FROM python:3.13-slim AS serve
ENV PATH=/opt/movierec/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MOVIEREC_HOME=/srv/movierec \
    MOVIEREC_LOGGING__HANDLERS='["console"]' \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    PROMETHEUS_MULTIPROC_DIR=/tmp/prometheus
RUN useradd --system --uid 10001 --no-create-home movierec \
    && mkdir -p /srv/movierec/artifacts /srv/movierec/ml-100k /srv/movierec/wikidata /tmp/prometheus \
    && chown -R movierec: /srv/movierec /tmp/prometheus
COPY --from=build /opt/movierec /opt/movierec
COPY config.yaml /srv/movierec/config.yaml
WORKDIR /srv/movierec
USER 10001
VOLUME ["/srv/movierec/artifacts", "/srv/movierec/ml-100k", "/srv/movierec/wikidata"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["movierec", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM serve AS free
ENV MOVIEREC_MODEL__DIR=/opt/free/artifacts
COPY --from=free-model /opt/free/artifacts /opt/free/artifacts

FROM serve
