/* The ground floor: errors, memory, strings, clocks, random numbers, files, checksums, threads. */
#include "config.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"
#include "base/isa.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "base/thread.h"
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void test_error(void **state) {
  (void)state;
  assert_int_equal(error_set(STATUS_INPUT, "no file %d", 7), STATUS_INPUT);
  assert_string_equal(error_message(), "no file 7");
  assert_int_equal(error_context(STATUS_INPUT, "in %s", "a.tar"), STATUS_INPUT);
  assert_string_equal(error_message(), "in a.tar: no file 7");
  error_set(STATUS_SYSTEM, "(%s)", error_message());
  assert_string_equal(error_message(), "(in a.tar: no file 7)");
  char *long_text = memory_allocate(20001, "test");
  memset(long_text, 'x', 20000);
  error_set(STATUS_INPUT, "%s", long_text);
  error_context(STATUS_INPUT, "%s", long_text);
  assert_true(strlen(error_message()) > 8000);
  memory_release(long_text);
}

static void test_memory(void **state) {
  (void)state;
  size_t blocks = memory_report_live(false), bytes = memory_live_bytes();
  uint64_t count = memory_count_allocations();
  char *a = memory_allocate(100, "a"), *b = memory_allocate(0, "b");
  assert_int_equal((uintptr_t)a % 64, 0);
  assert_int_equal((uintptr_t)b % 64, 0);
  for (int i = 0; i < 100; i++)
    assert_int_equal(a[i], 0);
  memset(a, 'x', 100);
  a = memory_resize(a, 5000, "a");
  assert_int_equal(a[99], 'x');
  assert_int_equal(a[100], 0);
  assert_int_equal(a[4999], 0);
  assert_int_equal(memory_live_bytes() - bytes, 5000);
  assert_int_equal(memory_report_live(false) - blocks, 2);
  assert_true(memory_peak_bytes() >= 5000);
  memory_set_poison(true);
  memory_release(a);
  memory_set_poison(false);
  memory_release(b);
  memory_release(NULL);
  assert_int_equal(memory_count_allocations() - count, 3);
  assert_int_equal(memory_report_live(false), blocks);
  assert_int_equal(memory_live_bytes(), bytes);
}

/* The byte behind a block, and the last of the guard. */
static void test_overrun(void **state) {
  (void)state;
  for (int i = 0; i < 3; i++) {
    const pid_t child = fork();
    if (child == 0) {
      volatile char *block = memory_allocate(10, "overrun");
      block[i == 0 ? 9 : i == 1 ? 10 : 73] = 1;
      memory_release((void *)block);
      _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(i == 0 ? WIFEXITED(status) : WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, 1);
  }
}

static void test_text(void **state) {
  (void)state;
  struct text text = {0};
  for (int i = 0; i < 1000; i++)
    text_append_format(&text, "%d,", i);
  assert_int_equal(text.length, 10 * 2 + 90 * 3 + 900 * 4);
  assert_true(text_ends_with(text.data, ",998,999,"));
  text_release(&text);
  char *path = text_join_path("a/b", "c");
  assert_string_equal(path, "a/b/c");
  assert_string_equal(text_base_name(path), "c");
  memory_release(path);
  path = text_join_path("a/", "/c");
  assert_string_equal(path, "/c");
  memory_release(path);
  assert_true(text_equal_ignore_case("ViT", "vit"));
  assert_false(text_equal_ignore_case("ViT", "vi"));
  assert_true(text_match("visual.*.mlp.keys?", "visual.transformer.2.mlp.keys1"));
  assert_true(text_match("*", ""));
  assert_true(text_match("a*b*c", "aXbbYc"));
  assert_false(text_match("a*b", "abc"));
  assert_true(text_is_utf8("gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80", 11));
  assert_false(text_is_utf8("\xc0\xaf", 2));
  assert_false(text_is_utf8("\xed\xa0\x80", 3));
  assert_false(text_is_utf8("\xe2\x82", 2));
}

static void test_nearest(void **state) {
  (void)state;
  static const char *const names[] = {"batch_size", "epochs", "lr", "ViT-B-16", "warmup_steps"};
  assert_string_equal(text_nearest("bacth_size", names, 5), "batch_size");
  assert_string_equal(text_nearest("epoch", names, 5), "epochs");
  assert_string_equal(text_nearest("rl", names, 5), "lr");
  assert_string_equal(text_nearest("vit-b16", names, 5), "ViT-B-16");
  assert_string_equal(text_nearest("warm_up_steps", names, 5), "warmup_steps");
  assert_null(text_nearest("learning_rate", names, 5));
}

static void test_clock(void **state) {
  (void)state;
  char text[32];
  clock_format_duration(12.4, text);
  assert_string_equal(text, "12 s");
  clock_format_duration(59.6, text);
  assert_string_equal(text, "1 min 00 s");
  clock_format_duration(190, text);
  assert_string_equal(text, "3 min 10 s");
  clock_format_duration(3725, text);
  assert_string_equal(text, "1 h 02 min");
  clock_format_duration(NAN, text);
  assert_string_equal(text, "?");
  double start = clock_seconds();
  clock_sleep(0.01);
  assert_true(clock_seconds() - start >= 0.009);
  assert_true(clock_seconds_of_run() > 0);
  clock_format_now(text);
  assert_int_equal(strlen(text), 19);
}

/* Known answers published with the algorithm (Random123, kat_vectors). */
static void test_philox(void **state) {
  (void)state;
  static const struct {
    uint64_t key, high, low;
    uint32_t out[4];
  } known[] = {
      {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    uint32_t out[4];
    random_philox(known[i].key, known[i].high, known[i].low, out);
    assert_memory_equal(out, known[i].out, sizeof out);
  }
}

static void test_random(void **state) {
  (void)state;
  enum { COUNT = 40000 };
  struct random_key key = {.seed = 1, .use = RANDOM_TEST}, other = {.seed = 1, .use = RANDOM_TEST, .layer = 1};
  double sum = 0, square = 0, fourth = 0, uniform = 0;
  int below[7] = {0};
  for (uint64_t i = 0; i < COUNT; i++) {
    double normal = random_normal(&key, i), u = random_uniform(&key, i);
    sum += normal, square += normal * normal, fourth += normal * normal * normal * normal, uniform += u;
    assert_true(u >= 0 && u < 1);
    below[random_below(&key, i, 7)]++;
  }
  assert_true(fabs(sum / COUNT) < 0.02);
  assert_true(fabs(square / COUNT - 1) < 0.03);
  assert_true(fabs(fourth / COUNT - 3) < 0.3);
  assert_true(fabs(uniform / COUNT - 0.5) < 0.006);
  for (int i = 0; i < 7; i++)
    assert_true(fabs(below[i] - COUNT / 7.0) < 350);
  assert_true(random_bits(&key, 0) != random_bits(&other, 0));
  assert_true(random_bits(&key, 0) == random_bits(&key, 0));
}

static void test_permute(void **state) {
  (void)state;
  static const uint64_t counts[] = {1, 2, 3, 5, 64, 65, 1000, 4097};
  for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
    uint64_t count = counts[c], moved = 0;
    char *seen = memory_allocate(count, "seen");
    struct random_key key = {.seed = 3, .index = c, .use = RANDOM_ORDER};
    for (uint64_t i = 0; i < count; i++) {
      uint64_t image = random_permute(&key, i, count);
      assert_true(image < count && !seen[image]);
      seen[image] = 1;
      moved += image != i;
    }
    if (count > 60)
      assert_true(moved > count * 9 / 10);
    memory_release(seen);
  }
}

static void test_checksum(void **state) {
  (void)state;
  assert_int_equal(checksum_crc32c(0, "123456789", 9), 0xe3069283);
  uint8_t data[1000];
  struct random_key key = {.seed = 5, .use = RANDOM_TEST};
  for (uint64_t i = 0; i < sizeof data; i++)
    data[i] = (uint8_t)random_bits(&key, i);
  for (size_t start = 0; start < 9; start++)
    for (size_t size = 0; size < 40; size++)
      assert_int_equal(checksum_crc32c(7, data + start, size), checksum_crc32c_portable(7, data + start, size));
  static uint8_t run[100003];
  for (uint64_t i = 0; i < sizeof run; i++)
    run[i] = (uint8_t)(random_bits(&key, i / 8) >> 8 * (i % 8));
  for (size_t size = 12280; size < sizeof run; size += 12283)
    for (size_t start = 0; start < 3; start++)
      assert_int_equal(checksum_crc32c(7, run + start, size - start),
                       checksum_crc32c_portable(7, run + start, size - start));
  uint32_t whole = checksum_crc32c(0, data, sizeof data);
  assert_int_equal(checksum_crc32c(checksum_crc32c(0, data, 123), data + 123, sizeof data - 123), whole);
}

static void test_dtype(void **state) {
  (void)state;
  assert_int_equal(dtype_size(DTYPE_BF16), 2);
  assert_string_equal(dtype_name(DTYPE_F32), "fp32");
  assert_true(bf16_to_float(bf16_from_float(1.0f)) == 1.0f);
  assert_int_equal(bf16_from_float(1.00390625f), 0x3f80); /* a tie goes to even */
  assert_int_equal(bf16_from_float(1.01171875f), 0x3f82);
  assert_true(isnan(bf16_to_float(bf16_from_float(NAN))));
  assert_true(isinf(bf16_to_float(bf16_from_float(3.4e38f))));
}

static void test_file(void **state) {
  char *directory = text_join_path(*state, "a/b/c"), *path = text_join_path(directory, "file");
  assert_int_equal(file_make_directories(directory), STATUS_OK);
  assert_int_equal(file_make_directories(directory), STATUS_OK);
  assert_int_equal(file_write_atomic(path, "hello", 5), STATUS_OK);
  assert_int_equal(file_write_atomic(path, "hello world", 11), STATUS_OK);
  char *pipe = text_join_path(directory, "pipe"); /* what is no file is not replaced by one, nor waited for */
  struct file_map map;
  assert_int_equal(mkfifo(pipe, 0600), 0);
  assert_int_equal(file_map(pipe, &map), STATUS_INPUT);
  assert_int_equal(file_write_atomic(pipe, "hello", 5), STATUS_SYSTEM);
  assert_int_equal(unlink(pipe), 0);
  memory_release(pipe);
  struct text text = {0};
  assert_int_equal(file_read(path, &text), STATUS_OK);
  assert_string_equal(text.data, "hello world");
  text_release(&text);
  int64_t size, modified;
  assert_int_equal(file_stat(path, &size, &modified), STATUS_OK);
  assert_int_equal(size, 11);
  assert_true(fabs((double)modified * 1e-9 - clock_wall_seconds()) < 60);
  assert_int_equal(file_map(path, &map), STATUS_OK);
  assert_memory_equal(map.data, "hello world", 11);
  file_unmap(&map);
  assert_int_equal(file_write_atomic(path, "", 0), STATUS_OK);
  assert_int_equal(file_map(path, &map), STATUS_OK);
  assert_int_equal(map.size, 0);
  file_unmap(&map);
  assert_int_equal(file_make_directories(path), STATUS_SYSTEM);
  assert_int_equal(file_read(directory, &text), STATUS_INPUT);
  text_release(&text);
  assert_int_equal(file_map("/nonexistent/x", &map), STATUS_INPUT);
  assert_string_equal(error_message(), "cannot open /nonexistent/x: No such file or directory");
  assert_int_equal(file_write_atomic("/nonexistent/x", "", 0), STATUS_SYSTEM);
  assert_true(file_exists(path) && !file_is_directory(path) && file_is_directory(directory));
  memory_release(path);
  memory_release(directory);
}

static void *run_thread(void *argument) {
  *(int *)argument = thread_count_available();
  return NULL;
}

static void test_thread(void **state) {
  (void)state;
  pthread_t thread;
  int cores = 0;
  thread_start(&thread, "a name longer than the kernel keeps", run_thread, &cores);
  pthread_join(thread, NULL);
  assert_true(cores >= 1 && cores <= thread_count_online());
}

static void test_isa(void **state) {
  (void)state;
  enum isa isa;
  const enum isa machine = isa_of_machine();
  unsetenv("MEMCLIP_ISA");
  assert_int_equal(isa_choose(&isa), STATUS_OK);
  assert_true(isa == machine && isa_best() == machine && !isa_is_forced());
  for (int i = 0; i < ISA_COUNT; i++) {
    const bool available = i <= (int)machine;
    setenv("MEMCLIP_ISA", isa_name((enum isa)i), 1);
    assert_int_equal(isa_choose(&isa), available ? STATUS_OK : STATUS_SYSTEM);
    assert_int_equal(isa_best(), available ? i : (int)machine);
  }
  setenv("MEMCLIP_ISA", "sse9", 1);
  assert_int_equal(isa_choose(&isa), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "sse9 is unknown"));
  assert_int_equal(isa_best(), machine);
  unsetenv("MEMCLIP_ISA");
}

static int make_directory(void **state) {
  *state = memory_copy_string("test_base.XXXXXX", "test");
  return mkdtemp(*state) ? 0 : -1;
}

static int remove_directory(void **state) {
  char *command = text_format("rm -rf '%s'", (char *)*state);
  int result = system(command);
  memory_release(command);
  memory_release(*state);
  return result;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_error),   cmocka_unit_test(test_memory),
      cmocka_unit_test(test_overrun), cmocka_unit_test(test_text),
      cmocka_unit_test(test_nearest), cmocka_unit_test(test_clock),
      cmocka_unit_test(test_philox),  cmocka_unit_test(test_random),
      cmocka_unit_test(test_permute), cmocka_unit_test(test_checksum),
      cmocka_unit_test(test_dtype),   cmocka_unit_test(test_thread),
      cmocka_unit_test(test_isa),     cmocka_unit_test_setup_teardown(test_file, make_directory, remove_directory),
  };
  int failed = cmocka_run_group_tests_name("base", tests, NULL, NULL);
  return failed ? failed : (int)memory_report_live(true);
}
