# `cmake --install` gives a prefix that works on its own: cmake -DBUILD=... -DPREFIX=... -P installed.cmake
file(REMOVE_RECURSE ${PREFIX})
execute_process(COMMAND ${CMAKE_COMMAND} --install ${BUILD} --prefix ${PREFIX} OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
# The program looks for its data beside itself before it looks into the tree it was built from: without the installed
# requirements it must not find the others.
execute_process(COMMAND ${PREFIX}/bin/plumbline verify --spec tiny --longest 604 --out ${PREFIX}/out COMMAND_ERROR_IS_FATAL ANY)
# What it hands over to another program, that one finds, too.
execute_process(COMMAND ${PREFIX}/bin/plumbline log --help OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(RENAME ${PREFIX}/share/plumbline/fixtures/requirements.json ${PREFIX}/requirements.json)
execute_process(COMMAND ${PREFIX}/bin/plumbline verify --spec tiny --longest 604 --out ${PREFIX}/out RESULT_VARIABLE status
                ERROR_VARIABLE complaint OUTPUT_QUIET)
if(NOT status EQUAL 2 OR NOT complaint MATCHES "${PREFIX}/share/plumbline/fixtures/requirements.json")
  message(FATAL_ERROR "expected status 2 naming the installed requirements.json, got ${status}: ${complaint}")
endif()
