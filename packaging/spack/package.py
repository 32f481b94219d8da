# Spack recipe: spack repo create DIR, copy this to DIR/packages/memclip/package.py, spack repo add DIR, then
# in the source tree: spack dev-build memclip@main
from spack.package import *


class Memclip(AutotoolsPackage):
    """Trains, distils, fine-tunes and evaluates CLIP with product-key memories on clusters (C, MPI, HDF5)."""

    version("main")
    version("0.1.0")

    variant("scenes", default=True, description="memclip-scenes, which draws the demo's world")
    variant("webp", default=True, description="WebP pictures through libwebp")
    variant("plots", default=True, description="gnuplot for memclip-plot and memclip-report")

    depends_on("autoconf", type="build")
    depends_on("automake@1.16:", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("openmpi@4:")
    depends_on("hdf5@1.10:~mpi")
    depends_on("onednn@2.6: cpu_runtime=omp")
    depends_on("libarchive")
    depends_on("libjpeg-turbo")
    depends_on("libpng@1.6:")
    depends_on("libwebp+libwebpdemux", when="+webp")
    depends_on("jansson")
    depends_on("pcre2")
    depends_on("utf8proc")
    depends_on("protobuf-c")
    depends_on("zlib-api")
    depends_on("cairo+png", when="+scenes")
    depends_on("gnuplot", when="+plots", type="run")
    depends_on("cmocka", type="test")

    def autoreconf(self, spec, prefix):
        autoreconf("--force", "--install")

    def configure_args(self):
        spec = self.spec
        return [
            f"MPICC={spec['mpi'].mpicc}",
            f"--with-hdf5={spec['hdf5'].prefix}",
            f"--with-onednn={spec['onednn'].prefix}",
            "--with-libwebp=yes" if spec.satisfies("+webp") else "--with-libwebp=no",
            "--with-cairo=yes" if spec.satisfies("+scenes") else "--with-cairo=no",
            "--with-cmocka=yes" if self.run_tests else "--with-cmocka=no",
        ]

    def setup_run_environment(self, env):
        env.set("MEMCLIP_SLURM", join_path(self.prefix.share, "memclip", "slurm"))
