# Wheels are built in the first stage; the second has neither sources nor a compiler nor a cache.
FROM python:3.11.13-slim-bookworm AS build

WORKDIR /source
# The locked versions, by their hashes; what builds Pagesight is among them.
COPY requirements requirements
RUN pip wheel --no-cache-dir --wheel-dir /wheels --require-hashes --requirement requirements/run.txt \
    && pip install --no-cache-dir --no-index --find-links /wheels hatchling
COPY pyproject.toml README.md LICENSE ./
COPY mappings mappings
COPY pipeline pipeline
COPY workers workers
RUN pip wheel --no-cache-dir --wheel-dir /wheels --no-deps --no-build-isolation .

FROM python:3.11.13-slim-bookworm

# LibreOffice with its Python bindings for slides and office files, DjVuLibre for DjVu, Tesseract for scripts that RapidOCR
# does not know. Fonts for files that bring none: without Chinese, Japanese and Korean ones their pages come out blank, and
# Liberation, Carlito and Caladea are as wide as the fonts that most office files name, so that lines and pages break where
# they should.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        djvulibre-bin \
        fonts-crosextra-caladea fonts-crosextra-carlito fonts-dejavu-core fonts-liberation fonts-noto-cjk \
        libreoffice-calc-nogui libreoffice-draw-nogui libreoffice-impress-nogui libreoffice-writer-nogui python3-uno \
        tesseract-ocr tesseract-ocr-osd tesseract-ocr-kor tesseract-ocr-tha tesseract-ocr-script-arab \
        tesseract-ocr-script-beng tesseract-ocr-script-cyrl tesseract-ocr-script-deva tesseract-ocr-script-grek \
        tesseract-ocr-script-hebr tesseract-ocr-script-taml tesseract-ocr-script-telu \
    && rm -rf /var/lib/apt/lists/*

RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'pagesight[local,s3]'

# /documents is where Compose mounts what is to be read; state lies in the other one. Nothing else is written to but
# /tmp, so the root file system may be read-only.
RUN groupadd --gid 10001 pagesight \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin pagesight \
    && install --directory --owner=pagesight --group=pagesight --mode=0700 /var/lib/pagesight \
    && install --directory --owner=pagesight --group=pagesight /documents
ENV HOME=/tmp PAGESIGHT_HOME=/var/lib/pagesight PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /var/lib/pagesight
USER 10001:10001
CMD ["pagesight", "worker"]
