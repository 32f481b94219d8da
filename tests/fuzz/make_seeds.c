/* Writes the seeds of the fuzz targets: FOLDER/TARGET/NAME, small files of each kind, made by our own writers. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/image.h"
#include "data/index.h"
#include "data/tar_writer.h"
#include "data/tokenizer.h"
#include "input/keys.h"
#include "io/safetensors.h"
#include "model/config.h"
#include "../make_pickle.h"
#include "../make_zip.h"
#include <stdio.h>
#include <string.h>

static const char *folder;

static void check(enum status status) {
  if (status != STATUS_OK)
    fatal("%s", error_message());
}

/* Released by the caller. */
static char *path_of(const char *target, const char *name) {
  char *directory = text_join_path(folder, target), *path = text_join_path(directory, name);
  check(file_make_directories(directory));
  memory_release(directory);
  return path;
}

static void write_seed(const char *target, const char *name, const void *bytes, size_t size) {
  char *path = path_of(target, name);
  check(file_write_atomic(path, bytes, size));
  memory_release(path);
}

static void write_texts(const char *target, const char *const *texts, size_t count) {
  char name[32];
  for (size_t i = 0; i < count; i++) {
    snprintf(name, sizeof name, "text-%02zu", i);
    write_seed(target, name, texts[i], strlen(texts[i]));
  }
}
#define WRITE_TEXTS(target, texts) write_texts(target, texts, sizeof texts / sizeof texts[0])

static struct image gradient(void) {
  enum { WIDTH = 19, HEIGHT = 13 };
  static uint8_t pixels[WIDTH * HEIGHT * 3 + 64];
  for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
    pixels[i] = (uint8_t)(i * 7 % 251);
  return (struct image){.pixels = pixels, .width = WIDTH, .height = HEIGHT, .capacity_bytes = sizeof pixels};
}

/* A segment of EXIF that says orientation 6, put behind the start of the JPEG. */
static void write_oriented(const uint8_t *jpeg, size_t size) {
  static const char exif[] = "\xff\xe1\0\x22"
                             "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
  struct text file = {0};
  text_append(&file, (const char *)jpeg, 2);
  text_append(&file, exif, sizeof exif - 1);
  text_append(&file, (const char *)jpeg + 2, size - 2);
  write_seed("image", "oriented.jpg", file.data, file.length);
  text_release(&file);
}

static void write_images(struct text *jpeg) {
  const struct image image = gradient();
  void *bytes;
  size_t size;
  check(image_encode_jpeg(&image, 60, &bytes, &size));
  text_append(jpeg, bytes, size);
  write_seed("image", "small.jpg", bytes, size);
  write_oriented(bytes, size);
  memory_release(bytes);
  char *path = path_of("image", "small.png");
  check(image_write_png(path, &image));
  memory_release(path);
}

static void write_shards(const struct text *jpeg) {
  char *path = path_of("tar", "plain.tar"), *long_path = path_of("tar", "long.tar");
  struct tar_writer *tar;
  check(tar_writer_open(path, &tar));
  check(tar_writer_add(tar, "a", "jpg", jpeg->data, jpeg->length));
  check(tar_writer_add(tar, "a", "txt", "a red cat", 9));
  check(tar_writer_add(tar, "b/c", "jpg", "no picture", 10));
  check(tar_writer_add(tar, "b/c", "json", "{\"caption\": \"x\"}", 16));
  check(tar_writer_add(tar, "b/c", "txt", "", 0));
  check(tar_writer_finish(tar));
  char key[300];
  memset(key, 'k', sizeof key);
  key[sizeof key - 1] = '\0';
  check(tar_writer_open(long_path, &tar));
  check(tar_writer_add(tar, key, "jpg", "1", 1));
  check(tar_writer_add(tar, "\xc3\xa9", "txt", "e", 1));
  check(tar_writer_finish(tar));
  struct index index;
  check(index_build(path, &index));
  write_seed("index", "plain.idx", index.block, index_block_bytes(&index));
  index_release(&index);
  memory_release(path);
  memory_release(long_path);
}

static void write_namelists(void) {
  static const char *const texts[] = {"&run stage='distill' directory='runs/a' seed=3 /\n&memory layers=2,4 / ! words\n"
                                      "&data train='a{0..1}.tar','b.tar' val=\"c.tar\" crop_scale=2*0.5 /",
                                      "&RUN\n Stage = 'eval'\n log_every = 1,,\n/\n&optim lr=5.E-4, beta1 = .9d0 &end",
                                      "&loss long_weight=3*1.0 short_weight = .true. /", "&run stage='it''s' /"};
  WRITE_TEXTS("namelist", texts);
  FILE *reference = tmpfile();
  char content[65536];
  input_write_reference(reference);
  rewind(reference);
  const size_t size = fread(content, 1, sizeof content, reference);
  fclose(reference);
  write_seed("namelist", "reference.nml", content, size);
}

static void write_configs(void) {
  struct clip_config config;
  struct text json = {0};
  check(config_read("ViT-B-32-quickgelu", &config));
  config_write(&config, &json);
  write_seed("config", "model.json", json.data, json.length);
  config.vision.memory = (struct memory_config){.layers = {[2] = true, [4] = true},
                                                .count = 2,
                                                .n_keys = 8,
                                                .heads = 2,
                                                .knn = 4,
                                                .k_dim = 256,
                                                .v_dim = 256,
                                                .share_values = true,
                                                .swilu_projection = true};
  config.vision.layer_scale = 1e-4;
  text_clear(&json);
  config_write(&config, &json);
  write_seed("config", "memory.json", json.data, json.length);
  text_release(&json);
  static const char *const texts[] = {
      "{\"embed_dim\": 8, \"vision_cfg\": {\"image_size\": [32, 48], \"layers\": 2, \"width\": 64, \"patch_size\": 8},"
      " \"text_cfg\": {\"width\": 64, \"heads\": 2, \"layers\": 1, \"vocab_size\": 600, \"pool_type\": \"first\"}}",
      "{\"vision_cfg\": {\"layers\": [3, 4, 6, 3]}}", "{\"vision_cfg\": {\"timm_model_name\": \"x\"}}"};
  WRITE_TEXTS("config", texts);
}

static void write_vocabulary(void) {
  static const char *const lines[] = {"the red cat sat on the red mat", "two dogs and the cat don't sit"};
  char *path = path_of("vocabulary", "small.bpe.gz");
  check(vocabulary_train(lines, 2, 524, path));
  memory_release(path);
  static const char *const texts[] = {"#version: 0.2\nt h\nth e</w>\ni n\n", "", "no line"};
  WRITE_TEXTS("vocabulary", texts);
}

static void write_weights(void) {
  static const float values[] = {1, -2, 3.5f, 0, 5, 6};
  static const int64_t whole[] = {7, -8};
  const struct tensor_entry entries[] = {
      {.name = (char *)"visual.proj", .dtype = DTYPE_F32, .axes = 2, .shape = {2, 3}, .elements = 6, .data = values},
      {.name = (char *)"step", .dtype = DTYPE_I64, .axes = 1, .shape = {2}, .elements = 2, .data = whole},
      {.name = (char *)"logit_scale", .dtype = DTYPE_F32, .axes = 0, .elements = 1, .data = values}};
  char *path = path_of("safetensors", "small.safetensors");
  check(safetensors_write(path, entries, 3, NULL));
  memory_release(path);
}

/* A state dict alone, and one within a training checkpoint. */
static void write_torch(void) {
  static const struct pickled_tensor tensors[] = {
      {"visual.proj", "FloatStorage", "0", 8, 0, 2, {4, 2}, {1, 4}},
      {"slice", "FloatStorage", "0", 8, 3, 1, {2}, {2}},
      {"scalar", "HalfStorage", "1", 16, 5, 0, {0}, {0}},
      {"ids", "LongStorage", "1", 4, 0, 1, {4}, {1}},
  };
  static const float numbers[2][8] = {{1, 2, 3}, {4, 5, 6}};
  for (int training = 0; training < 2; training++) {
    struct text pickle = {0}, archive = {0};
    pickle_put(&pickle, "\x80\x02");
    if (training) {
      pickle_put(&pickle, "}(");
      pickle_put_string(&pickle, "epoch");
      pickle_put(&pickle, "K\x07");
      pickle_put_string(&pickle, "arguments");
      pickle_put(&pickle, "cargparse\nNamespace\n)\x81}b");
      pickle_put_string(&pickle, "state_dict");
    }
    pickle_put_dict(&pickle, tensors, 4);
    pickle_put(&pickle, training ? "u." : ".");
    const struct zip_part parts[] = {{"top/data.pkl", pickle.data, pickle.length},
                                     {"top/data/0", numbers[0], sizeof numbers[0]},
                                     {"top/data/1", numbers[1], sizeof numbers[1]}};
    make_zip(parts, 3, training, training, &archive);
    write_seed("torch", training ? "training.pt" : "state.pt", archive.data, archive.length);
    write_seed("pickle", training ? "training.pkl" : "state.pkl", pickle.data, pickle.length);
    text_release(&pickle);
    text_release(&archive);
  }
}

static void write_checkpoint(void) {
  static const float values[] = {1, 2, 3, 4};
  char *path = path_of("checkpoint", "small.h5");
  struct store *store;
  check(store_create(path, &store));
  check(store_write(store, "model/visual.proj", DTYPE_F32, 2, (const int64_t[]){2, 2}, values));
  check(store_link(store, "model/visual.proj", "model/visual.again"));
  check(store_write_text(store, "run/input", "&run /"));
  check(store_write_number(store, "progress/step", 3));
  check(store_publish(store));
  memory_release(path);
}

static void write_captions(void) {
  static const char *const captions[] = {
      "A photo of the CAT's \xe2\x80\x9cred\xe2\x80\x9d hat; don't &amp;amp; &eacute;&#x41;&#150;&notit",
      "sch\xc3\x83\xc2\xb6n \xc3\xa2\xe2\x82\xac\xe2\x84\xa2 \xc3\x83\xc2\xa0 la mode \xef\xbf\xbd",
      "\xce\x9f\xce\x94\xce\x9f\xce\xa3 \xc4\xb0 \xef\xac\x81ne \xef\xbc\xa6 e\xcc\x81 "
      "\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd",
      "<b>&lt;end_of_text&gt;</b> <end_of_text> \x1b[31mred\x1b[0m\r\n\xc2\x85",
      "\xd0\xb2\xd0\x82\xe2\x84\xa2 \xed\xa0\xbd \xff\xfe \xc3\x83"};
  WRITE_TEXTS("text", captions);
  static const char *const json[] = {"{\"caption\": \"a. b\", \"text\": \"\"}", "{\"text\": [1, {}], \"n\": 1e9}",
                                     "{\"caption\": \"\\u00e9\\ud83d\\ude00\"}", "a{01..3}::{x,{y,z}}"};
  WRITE_TEXTS("captions", json);
  static const char *const csv[] = {"0filepath\ttitle\r\na.jpg\t\"say \"\"hi\"\",\r\nyou\"\r\nb.jpg\tNA\r\n\r\nc.jpg\t",
                                    "1n,title,filepath\n1,\"one, two\",a.jpg\n2,,b.jpg\n3\n",
                                    "2filepath;title\n;x\ny;\"open"};
  WRITE_TEXTS("csv", csv);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "make_seeds FOLDER\n");
    return 2;
  }
  folder = argv[1];
  struct text jpeg = {0};
  write_images(&jpeg);
  write_shards(&jpeg);
  write_namelists();
  write_configs();
  write_vocabulary();
  write_weights();
  write_torch();
  write_checkpoint();
  write_captions();
  text_release(&jpeg);
  return 0;
}
