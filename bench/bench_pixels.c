/* Images per second of the sample pipeline: JPEGs decoded, resized and cut to 224 x 224 as bytes, and normalised to
 * fp32 as the model's first operation does it (patchify). Without FILE a 500 x 375 picture is made here. MEMCLIP_ISA
 * chooses the kernels.
 *
 * bench_pixels [--threads N] [--train] [--paced] [FILE.jpg]; --train: a random resized crop in place of the centre;
 * --paced is for bench/beside.py. */
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "data/image.h"
#include "device/device.h"
#include "pace.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 500, HEIGHT = 375, SIZE = 224, PATCH = 16, COUNT = 300, THREADS_MAX = 256 };
enum part { DECODE, RESIZE, NORMALIZE, PARTS };
static const char *const part_names[PARTS] = {"decode", "decode + resize + crop", "decode + resize + crop + normalise"};

struct job { /* one thread's */
  const void *bytes;
  size_t size;
  enum part until;
  bool train;
  struct device *device;
  struct image decoded;
  struct image_workspace workspace;
  uint8_t *pixels;
  float *patches;
};

static void draw(struct image *image) {
  const struct random_key key = {.use = RANDOM_TEST};
  for (int i = 0; i < WIDTH * HEIGHT * 3; i++) {
    const int x = i / 3 % WIDTH, y = i / 3 / WIDTH;
    image->pixels[i] =
        (uint8_t)(120 + 80 * sin(x * 0.05 + i % 3) * cos(y * 0.07) + 8 * random_uniform(&key, (uint64_t)i));
  }
}

static enum status transform(struct job *job, int number) {
  const struct crop_range range = {{0.9, 1}, {3.0 / 4, 4.0 / 3}};
  const struct random_key key = {.index = (uint64_t)number, .use = RANDOM_TEST};
  if (!job->train)
    return image_transform_eval(&job->decoded, SIZE, &job->workspace, job->pixels);
  const struct image_box box = image_crop_box(job->decoded.width, job->decoded.height, &range, &key);
  return image_transform_crop(&job->decoded, &box, SIZE, SIZE, &job->workspace, job->pixels);
}

static enum status run_job(void *jobs, int thread) {
  struct job *job = (struct job *)jobs + thread;
  const struct patchify normalize = {.batch = 1,
                                     .height = SIZE,
                                     .width = SIZE,
                                     .patch = PATCH,
                                     .image_dtype = DTYPE_U8,
                                     .dtype = DTYPE_F32,
                                     .images = job->pixels,
                                     .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                                     .std = {0.26862954f, 0.26130258f, 0.27577711f},
                                     .patches = job->patches};
  for (int i = 0; i < COUNT; i++) {
    TRY(image_decode(job->bytes, job->size, NULL, &job->decoded));
    if (job->until >= RESIZE)
      TRY(transform(job, i));
    if (job->until >= NORMALIZE)
      job->device->op->patchify(job->device, &normalize);
  }
  return STATUS_OK;
}

struct pipeline {
  int threads;
  struct job jobs[THREADS_MAX];
};

static double time_images(void *opaque) {
  struct pipeline *pipeline = opaque;
  const double start = clock_seconds();
  if (thread_for_each(pipeline->threads, pipeline->threads, run_job, pipeline->jobs) != STATUS_OK)
    fatal("%s", error_message());
  return clock_seconds() - start;
}

static void open_jobs(struct pipeline *pipeline, const void *bytes, size_t size, bool train) {
  for (int i = 0; i < pipeline->threads; i++) {
    struct job *job = &pipeline->jobs[i];
    *job = (struct job){.bytes = bytes, .size = size, .until = NORMALIZE, .train = train};
    if (device_open("cpu", 1, &job->device) != STATUS_OK)
      fatal("%s", error_message());
    job->pixels = memory_allocate((size_t)SIZE * SIZE * 3, "bench");
    job->patches = memory_allocate((size_t)SIZE * SIZE * 3 * sizeof(float), "bench");
  }
}

static void close_jobs(struct pipeline *pipeline) {
  for (int i = 0; i < pipeline->threads; i++) {
    struct job *job = &pipeline->jobs[i];
    image_release(&job->decoded);
    image_workspace_release(&job->workspace);
    memory_release(job->pixels);
    memory_release(job->patches);
    device_close(job->device);
  }
}

static void measure_parts(struct pipeline *pipeline) {
  for (enum part part = DECODE; part < PARTS; part++) {
    double best = INFINITY;
    for (int i = 0; i < pipeline->threads; i++)
      pipeline->jobs[i].until = part;
    for (int run = 0; run < 5; run++)
      best = fmin(best, time_images(pipeline));
    printf("%-35s %7.0f images/s, %d %s, %s\n", part_names[part], pipeline->threads * COUNT / best, pipeline->threads,
           pipeline->threads == 1 ? "thread" : "threads", image_resize_isa());
  }
}

static void make_jpeg(void **bytes, size_t *size) {
  struct image image = {.width = WIDTH, .height = HEIGHT, .capacity_bytes = WIDTH * HEIGHT * 3};
  image.pixels = memory_allocate(image.capacity_bytes, "bench");
  draw(&image);
  if (image_encode_jpeg(&image, 90, bytes, size) != STATUS_OK)
    fatal("%s", error_message());
  image_release(&image);
}

int main(int argc, char **argv) {
  static struct pipeline pipeline = {.threads = 1};
  struct text file = {0};
  void *bytes = NULL;
  size_t size = 0;
  bool train = false, paced = false;
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--train") == 0)
      train = true;
    else if (strcmp(argv[i], "--paced") == 0)
      paced = true;
    else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
      pipeline.threads = atoi(argv[++i]);
    else if (file_read(argv[i], &file) != STATUS_OK)
      fatal("%s", error_message());
  }
  if (pipeline.threads < 1 || pipeline.threads > THREADS_MAX)
    fatal("--threads takes 1 to %d", THREADS_MAX);
  if (!file.length)
    make_jpeg(&bytes, &size);
  open_jobs(&pipeline, bytes ? bytes : file.data, bytes ? size : file.length, train);
  time_images(&pipeline);
  if (paced) {
    printf("{\"items\": %d}\n", pipeline.threads * COUNT);
    fflush(stdout);
    pace_steps(time_images, &pipeline);
    printf("{\"gigabytes\": %.3f}\n", 1e-6 * (double)pace_peak_kilobytes());
  } else {
    measure_parts(&pipeline);
  }
  close_jobs(&pipeline);
  memory_release(bytes);
  text_release(&file);
  return 0;
}
