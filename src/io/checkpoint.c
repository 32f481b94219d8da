#include "io/checkpoint.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread.h"
#include "io/checkpoint_directory.h"
#include <stdatomic.h>
#include <string.h>

static enum status write_content(struct store *store, const struct checkpoint_content *content) {
  for (int64_t i = 0; i < content->tensor_count; i++) {
    const struct checkpoint_tensor *t = &content->tensors[i];
    if (t->alias_of != NULL)
      TRY(store_link(store, t->alias_of, t->name));
    else if (t->bf16_numbers)
      TRY(store_write_bf16_numbers(store, t->name, t->axes, t->shape, t->data));
    else
      TRY(store_write(store, t->name, t->dtype, t->axes, t->shape, t->data));
  }
  for (int64_t i = 0; i < content->number_count; i++)
    TRY(store_write_number(store, content->numbers[i].name, content->numbers[i].value));
  for (int64_t i = 0; i < content->text_count; i++)
    TRY(store_write_text(store, content->texts[i].name, content->texts[i].text));
  return STATUS_OK;
}

enum status checkpoint_write(const char *path, const struct checkpoint_content *content) {
  struct store *store;
  TRY(store_create(path, &store));
  const enum status status = write_content(store, content);
  if (status == STATUS_OK)
    return store_publish(store);
  store_close(store);
  return status;
}

/* A copy of a content in buffers that grow to the largest seen and stay. */
struct buffer {
  char *bytes;
  size_t capacity, used;
};
struct snapshot {
  struct buffer lists, strings, data;
  struct checkpoint_content content;
};

static void buffer_reserve(struct buffer *buffer, size_t bytes) {
  buffer->used = 0;
  if (bytes <= buffer->capacity)
    return;
  memory_release(buffer->bytes);
  buffer->bytes = memory_allocate(bytes, "checkpoint snapshot");
  buffer->capacity = bytes;
}

enum { SNAPSHOT_ALIGNMENT = 64 };

static size_t padded(size_t bytes) {
  return (bytes + SNAPSHOT_ALIGNMENT - 1) / SNAPSHOT_ALIGNMENT * SNAPSHOT_ALIGNMENT;
}

/* The next `bytes` of the buffer, aligned. */
static char *buffer_take(struct buffer *buffer, size_t bytes) {
  char *place = buffer->bytes + buffer->used;
  buffer->used += padded(bytes);
  return place;
}

static size_t tensor_bytes(const struct checkpoint_tensor *t) {
  size_t bytes = t->alias_of != NULL ? 0 : dtype_size(t->dtype);
  for (int a = 0; a < t->axes; a++)
    bytes *= (size_t)t->shape[a];
  return bytes;
}

static size_t string_bytes(const char *string) {
  return string != NULL ? strlen(string) + 1 : 0;
}

static void reserve_for(struct snapshot *snapshot, const struct checkpoint_content *c) {
  size_t strings = 0, data = 0;
  for (int64_t i = 0; i < c->tensor_count; i++) {
    strings += padded(string_bytes(c->tensors[i].name)) + padded(string_bytes(c->tensors[i].alias_of));
    data += padded(tensor_bytes(&c->tensors[i]));
  }
  for (int64_t i = 0; i < c->number_count; i++)
    strings += padded(string_bytes(c->numbers[i].name));
  for (int64_t i = 0; i < c->text_count; i++)
    strings += padded(string_bytes(c->texts[i].name)) + padded(string_bytes(c->texts[i].text));
  buffer_reserve(&snapshot->lists, padded((size_t)c->tensor_count * sizeof *c->tensors) +
                                       padded((size_t)c->number_count * sizeof *c->numbers) +
                                       padded((size_t)c->text_count * sizeof *c->texts));
  buffer_reserve(&snapshot->strings, strings);
  buffer_reserve(&snapshot->data, data);
}

static const char *copy_string(struct snapshot *snapshot, const char *string) {
  if (string == NULL)
    return NULL;
  const size_t bytes = string_bytes(string);
  return memcpy(buffer_take(&snapshot->strings, bytes), string, bytes);
}

/* Lists and strings first, in this thread; then the data, which are large, by all threads of the step. */
static void take_snapshot(struct snapshot *snapshot, const struct checkpoint_content *c) {
  reserve_for(snapshot, c);
  struct checkpoint_tensor *tensors = (void *)buffer_take(&snapshot->lists, (size_t)c->tensor_count * sizeof *tensors);
  struct checkpoint_number *numbers = (void *)buffer_take(&snapshot->lists, (size_t)c->number_count * sizeof *numbers);
  struct checkpoint_text *texts = (void *)buffer_take(&snapshot->lists, (size_t)c->text_count * sizeof *texts);
  for (int64_t i = 0; i < c->tensor_count; i++) {
    tensors[i] = c->tensors[i];
    tensors[i].name = copy_string(snapshot, c->tensors[i].name);
    tensors[i].alias_of = copy_string(snapshot, c->tensors[i].alias_of);
    tensors[i].data =
        c->tensors[i].alias_of != NULL ? NULL : buffer_take(&snapshot->data, tensor_bytes(&c->tensors[i]));
  }
  for (int64_t i = 0; i < c->number_count; i++)
    numbers[i] = (struct checkpoint_number){copy_string(snapshot, c->numbers[i].name), c->numbers[i].value};
  for (int64_t i = 0; i < c->text_count; i++)
    texts[i] =
        (struct checkpoint_text){copy_string(snapshot, c->texts[i].name), copy_string(snapshot, c->texts[i].text)};
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < c->tensor_count; i++)
    if (tensor_bytes(&tensors[i]) > 0)
      memcpy((void *)tensors[i].data, c->tensors[i].data, tensor_bytes(&tensors[i]));
  snapshot->content = (struct checkpoint_content){.tensors = tensors,
                                                  .tensor_count = c->tensor_count,
                                                  .numbers = numbers,
                                                  .number_count = c->number_count,
                                                  .texts = texts,
                                                  .text_count = c->text_count};
}

struct checkpoint_writer {
  char *directory;
  int keep;
  pthread_t thread;
  bool running;
  struct snapshot snapshot;
  /* Of the write in progress, read after the join. */
  int64_t step;
  bool best, archive;
  enum status status;
  char *message; /* of a failure */
  _Atomic double seconds;
};

/* A second name for the file just written; a file system without hard links gets a second file. */
static enum status write_also(struct checkpoint_writer *writer, const char *path, const char *also) {
  if (checkpoint_directory_link(path, also))
    return STATUS_OK;
  return checkpoint_write(also, &writer->snapshot.content);
}

static enum status write_second_names(struct checkpoint_writer *writer, const char *path) {
  if (writer->best) {
    char *best = text_join_path(writer->directory, "best.h5");
    const enum status status = write_also(writer, path, best);
    memory_release(best);
    TRY(status);
  }
  if (writer->archive) {
    char *archive = text_join_path(writer->directory, "archive");
    char *also = text_join_path(archive, text_base_name(path));
    enum status status = file_make_directories(archive);
    if (status == STATUS_OK)
      status = write_also(writer, path, also);
    memory_release(also);
    memory_release(archive);
    TRY(status);
  }
  return STATUS_OK;
}

static enum status write_step(struct checkpoint_writer *writer) {
  char *path = checkpoint_directory_path(writer->directory, writer->step);
  enum status status = file_make_directories(writer->directory);
  if (status == STATUS_OK)
    status = checkpoint_write(path, &writer->snapshot.content);
  if (status == STATUS_OK) {
    checkpoint_directory_point_latest(writer->directory, writer->step);
    status = write_second_names(writer, path);
  }
  if (status == STATUS_OK)
    status = checkpoint_directory_prune(writer->directory, writer->step, writer->keep);
  memory_release(path);
  return status;
}

static void *run_write(void *argument) {
  struct checkpoint_writer *writer = argument;
  const double start = clock_seconds();
  memory_stop_counting();
  writer->status = write_step(writer);
  if (writer->status != STATUS_OK)
    writer->message = memory_copy_string(error_message(), "checkpoint message");
  atomic_store(&writer->seconds, clock_seconds() - start);
  return NULL;
}

struct checkpoint_writer *checkpoint_writer_open(const char *directory, int keep) {
  struct checkpoint_writer *writer = memory_allocate(sizeof *writer, "checkpoint writer");
  writer->directory = memory_copy_string(directory, "checkpoint directory");
  writer->keep = keep;
  checkpoint_directory_clear_temporaries(directory);
  return writer;
}

enum status checkpoint_writer_submit(struct checkpoint_writer *writer, const struct checkpoint_content *content,
                                     int64_t step, bool best, bool archive) {
  const enum status previous = checkpoint_writer_wait(writer);
  take_snapshot(&writer->snapshot, content);
  writer->step = step;
  writer->best = best;
  writer->archive = archive;
  writer->running = true;
  thread_start(&writer->thread, "checkpoint", run_write, writer);
  return previous;
}

enum status checkpoint_writer_wait(struct checkpoint_writer *writer) {
  if (!writer->running)
    return STATUS_OK;
  pthread_join(writer->thread, NULL);
  writer->running = false;
  if (writer->status == STATUS_OK)
    return STATUS_OK;
  const enum status status = error_set(writer->status, "%s", writer->message);
  memory_release(writer->message);
  writer->message = NULL;
  return status;
}

double checkpoint_writer_last_seconds(const struct checkpoint_writer *writer) {
  return atomic_load(&writer->seconds);
}

void checkpoint_writer_close(struct checkpoint_writer *writer) {
  if (writer == NULL)
    return;
  checkpoint_writer_wait(writer);
  memory_release(writer->snapshot.lists.bytes);
  memory_release(writer->snapshot.strings.bytes);
  memory_release(writer->snapshot.data.bytes);
  memory_release(writer->directory);
  memory_release(writer);
}
