# cmake --install: programs, manual pages, completions, configurations, licence, docs; and the Debian package (CPack).
# A program finds its parts from its own path (bin/muster-worker, lib/muster/libmuster-cuda.so), so any prefix will do.
include(GNUInstallDirs)
set(MUSTER_ZSH_DIR "${CMAKE_INSTALL_DATADIR}/zsh/site-functions" CACHE STRING
    "where the completion for zsh goes (Debian's packages: share/zsh/vendor-completions)")

# The pages and completions are what the built program prints.
set(generated ${CMAKE_BINARY_DIR}/generated)
add_custom_command(OUTPUT ${generated}/stamp DEPENDS muster ${PROJECT_SOURCE_DIR}/cmake/generate.cmake
                   COMMAND ${CMAKE_COMMAND} -DMUSTER=$<TARGET_FILE:muster> -DOUTPUT=${generated}
                           -P ${PROJECT_SOURCE_DIR}/cmake/generate.cmake VERBATIM)
add_custom_target(manual ALL DEPENDS ${generated}/stamp)

install(TARGETS muster muster-ssh muster-worker RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(PROGRAMS scripts/muster-wandb DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET muster-cuda)
  install(TARGETS muster-cuda LIBRARY DESTINATION lib/muster) # not lib/x86_64-linux-gnu: kernels/cuda_load.c looks there
endif()
install(DIRECTORY ${generated}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${generated}/muster.bash RENAME muster DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${generated}/_muster DESTINATION ${MUSTER_ZSH_DIR})
install(DIRECTORY configs slurm DESTINATION ${CMAKE_INSTALL_DATADIR}/muster)
install(FILES README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md" PATTERN "*.svg")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME muster)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "muster maintainers <root@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "fine-tunes GPT-NeoX-, GPT-2- and Llama-style language models over MPI")
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON) # what dpkg-shlibdeps finds in the programs; below what they start
set(CPACK_DEBIAN_PACKAGE_DEPENDS "openmpi-bin, openssh-client, gzip, bzip2, xz-utils")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "man-db, bash-completion")
include(CPack)
