# Finds every library once, says what was found, and what is lost without each.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
set(MUSTER_SUMMARY "")

macro(muster_need name module loss)
  pkg_check_modules(${name} IMPORTED_TARGET ${module})
  if(${name}_FOUND)
    list(APPEND MUSTER_SUMMARY "  yes  ${module} ${${name}_VERSION}")
  else()
    message(FATAL_ERROR "muster needs ${module} (${loss}): install its -dev package; scripts/install-dependencies lists them all")
  endif()
endmacro()

muster_need(YAML yaml-0.1 "reads the configuration")
muster_need(JANSSON jansson "reads and writes JSON")
muster_need(XXHASH libxxhash "digests of every file")
muster_need(SODIUM libsodium "secures the control channel")
muster_need(ZSTD libzstd "reads zstd text")
muster_need(ZLIB zlib "reads gzip text")
muster_need(UTF8PROC libutf8proc "normalises text for the tokenizer")

# HDF5: the serial C library. Debian keeps it beside the MPI builds, so pkg-config's name says which.
pkg_search_module(HDF5 IMPORTED_TARGET hdf5-serial hdf5)
if(NOT HDF5_FOUND)
  message(FATAL_ERROR "muster needs hdf5-serial (shards and checkpoints): install libhdf5-dev")
endif()
list(APPEND MUSTER_SUMMARY "  yes  hdf5 ${HDF5_VERSION}")

find_package(MPI REQUIRED COMPONENTS C)
list(APPEND MUSTER_SUMMARY "  yes  MPI ${MPI_C_VERSION} (${MPI_C_COMPILER})")

find_library(DNNL_LIBRARY dnnl)
find_path(DNNL_INCLUDE_DIR dnnl.h)
if(NOT DNNL_LIBRARY OR NOT DNNL_INCLUDE_DIR)
  message(FATAL_ERROR "muster needs oneDNN (matrix products on CPUs): install libdnnl-dev")
endif()
list(APPEND MUSTER_SUMMARY "  yes  oneDNN (${DNNL_LIBRARY})")

if(MUSTER_TESTS)
  muster_need(CMOCKA cmocka "tests; -DMUSTER_TESTS=OFF builds without")
endif()

list(JOIN MUSTER_SUMMARY "\n" MUSTER_SUMMARY_TEXT)
message(STATUS "libraries:\n${MUSTER_SUMMARY_TEXT}")
