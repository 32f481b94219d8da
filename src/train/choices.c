#include "train/choices.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include <string.h>

static const char file_name[] = "products.txt";

int64_t choices_count(const struct session *session) {
  struct device *device = session->device;
  return device->choices ? device->choices->count(device) : 0;
}

/* Rank 0's text, which may be NULL, given to all devices. */
static void take(struct session *session, const char *text, const char *from) {
  struct device *device = session->device;
  int64_t bytes = text ? (int64_t)strlen(text) + 1 : 0;
  comm_broadcast(&bytes, sizeof bytes, 0);
  if (bytes == 0)
    return;
  char *copy = memory_allocate((size_t)bytes, "choices of products");
  if (text)
    memcpy(copy, text, (size_t)bytes);
  comm_broadcast(copy, (size_t)bytes, 0);
  if (device->choices->read(device, copy) != STATUS_OK)
    report_message("the choices of matrix products in %s: %s; they are made anew", from, error_message());
  memory_release(copy);
}

static void take_file(struct session *session) {
  char *path = run_path(session->run, file_name);
  struct text text = {0};
  if (comm_rank() == 0 && file_exists(path) && file_read(path, &text) != STATUS_OK)
    report_message("%s: %s; the choices are made anew", path, error_message());
  take(session, text.data, path);
  text_release(&text);
  memory_release(path);
}

static void take_checkpoint(struct session *session, const char *path) {
  struct store *store = NULL;
  char *text = NULL;
  if (comm_rank() == 0 && store_open(path, &store) == STATUS_OK && store_has(store, "run/products") &&
      store_read_text(store, "run/products", &text) != STATUS_OK)
    report_message("%s: %s; the choices of matrix products are made anew", path, error_message());
  store_close(store);
  take(session, text, path);
  memory_release(text);
}

void choices_restore(struct session *session) {
  if (!session->device->choices)
    return;
  if (session->run->input_path)
    take_file(session);
  if (session->run->checkpoint)
    take_checkpoint(session, session->run->checkpoint);
  session->shared_choices = choices_count(session);
}

/* The texts of all ranks, one behind the other; from the highest rank down, so that the lowest has the last word. */
static enum status exchange(struct session *session) {
  struct device *device = session->device;
  enum status status = STATUS_OK;
  char *mine = device->choices->write(device, session->shared_choices);
  size_t bytes = strlen(mine) + 1, total = 0;
  size_t *sizes = memory_allocate((size_t)comm_size() * sizeof *sizes, "choices of products");
  comm_all_gather(&bytes, sizes, sizeof bytes);
  for (int r = 0; r < comm_size(); r++)
    total += sizes[r];
  char *all = memory_allocate(total, "choices of products"), *at = all + total;
  comm_all_gather_varied(mine, all, sizes);
  for (int r = comm_size() - 1; r >= 0; r--) {
    at -= sizes[r];
    status = device->choices->read(device, at);
  }
  memory_release(all);
  memory_release(sizes);
  memory_release(mine);
  return status;
}

void choices_share(struct session *session) {
  if (!session->device->choices || comm_size() == 1)
    return;
  int32_t any = choices_count(session) != session->shared_choices;
  comm_all_reduce(&any, 1, DTYPE_I32, COMM_MAX);
  if (!any)
    return;
  if (comm_agree(exchange(session)) != STATUS_OK && !session->choices_differ) {
    session->choices_differ = true;
    report_warning("not all ranks can multiply as rank 0 does, so another start may differ in its last bits: %s",
                   error_message());
  }
  session->shared_choices = choices_count(session);
}

static enum status write_file(struct session *session) {
  struct device *device = session->device;
  if (choices_count(session) == session->saved_choices)
    return STATUS_OK;
  char *text = device->choices->write(device, 0), *path = run_path(session->run, file_name);
  const enum status status = file_write_atomic(path, text, strlen(text));
  session->saved_choices = choices_count(session);
  memory_release(text);
  memory_release(path);
  return status;
}

enum status choices_save(struct session *session) {
  if (!session->device->choices)
    return STATUS_OK;
  choices_share(session);
  return comm_agree(comm_rank() == 0 ? write_file(session) : STATUS_OK);
}
